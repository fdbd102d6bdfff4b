// A small host in a scratch directory: guests as plain trees, one store beside them, the state directory, and
// the passes one by one, run by plain loops (no TBB: the thread sanitizer cannot see through it).
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/core/scratch.h"
#include "tests/core/sealing.h"
#include "tests/support/skip.h"
#include "unify/change/journal.h"
#include "unify/change/linker.h"
#include "unify/plan/guest_files.h"
#include "unify/plan/plan_maker.h"
#include "unify/plan/verify.h"
#include "unify/scan/scanner.h"

namespace vs::unit {

// What every pass gets, silent.
struct Context {
  Log log{Verbosity::quiet, "test"};
  Progress progress{log, ProgressMode::never};
  PhaseTimer timer;
  Cancel cancel;
  RunContext run{log, progress, timer, cancel, 2};
};

std::string digest_of(unify::DigestAlgorithm algorithm, std::string_view content);

inline constexpr int64_t kMtime = 1'700'000'000'123'456'789;

class Host {
 public:
  explicit Host(const std::vector<std::string>& names = {"a", "b"});

  // Paths of the host.
  std::string path(const std::string& guest, const std::string& name = "") const {
    return dir_ / (guest + (name.empty() ? "" : "/" + name));
  }
  std::string dir() const { return dir_.path(); }
  std::string state() const { return dir_ / "state"; }
  std::string store_path() const { return dir_ / ".unify"; }
  std::string master_path(const std::string& name) const { return store_path() + "/masters/" + name; }

  // A file of a guest, with one mtime for all so that they are of one class.
  void file(const std::string& guest, const std::string& name, std::string_view content,
            unsigned mode = 0644) const;
  void everywhere(const std::string& name, std::string_view content, unsigned mode = 0644) const;
  void link(const std::string& guest, const std::string& from, const std::string& to) const;
  std::string content(const std::string& guest, const std::string& name) const {
    return read_file(path(guest, name));
  }
  uint64_t ino(const std::string& guest, const std::string& name) const { return ino_of(path(guest, name)); }
  // Both names are one inode.
  bool shared(const std::string& name) const;

  // What the package database of a guest says; from then on the scope is `packages`.
  struct Record {
    std::string path;
    unify::DigestAlgorithm algorithm = unify::DigestAlgorithm::none;
    std::string digest = {};
    uint8_t flags = 0;
    std::string package = "pkg", version = "1", arch = "amd64";
  };
  void record(const std::string& guest, Record record);
  void record(const std::string& guest, const std::string& path, std::string_view content,
              unify::DigestAlgorithm algorithm);

  // The passes, each with what the ones before left in the members below.
  void scan();
  void find_candidates();
  std::vector<unify::GroupVerdict> verify();
  void make_plan(unify::Index* learning = nullptr, bool reflink = false);
  // All of them.
  void plan();
  unify::VerifyInput verify_input() const;
  unify::PlannedFiles planned() const { return {guests, link_plan, files.table}; }

  // One group of the plan, and its steps as apply does them; the master is then known to table and index.
  unify::GroupWork work(unify::GroupNumber group, unify::Linker& linker);
  unify::Linker linker() {
    return {*store, *guard, planned(), masters, nullptr, rules.ignore_mtime, counts, context.log};
  }
  unify::Exchanger exchanger() { return {*store, *guard, masters, nullptr, counts, context.log}; }
  // plan(), then all groups linked and settled.
  void unify();
  // The number of the group that has this name.
  unify::GroupNumber group_of(const std::string& guest, const std::string& name) const;

  unify::JournalRun journal_run(const std::string& run = "20261124T000000Z-1") const;
  std::vector<std::string> staging() const;
  std::vector<std::string> lost() const;
  uint64_t refused(unify::Reason reason) const { return files.total().skipped[static_cast<size_t>(reason)]; }

  Context context;
  TypedVector<GuestNumber, Guest> guests;
  Pool pool;
  std::unique_ptr<Store> store;
  std::unique_ptr<HookedGuard> guard = std::make_unique<HookedGuard>();
  std::unique_ptr<unify::Index> index;
  unify::MasterTable masters;
  unify::Rules rules;
  unify::GuestFiles files;
  unify::CandidateSet candidates;
  unify::LinkPlan link_plan;
  unify::LinkerCounts counts;

 private:
  void scan_guest(GuestNumber number);
  const ScratchDir dir_;
  std::map<std::string, std::vector<Record>> records_;
};

// For tests that link: skipped, with the reason, where nothing can be sealed.
class HostTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_STOP_IF(cannot_seal());
    host_ = std::make_unique<Host>(names());
  }
  virtual std::vector<std::string> names() const { return {"a", "b"}; }
  Host& host() { return *host_; }

 private:
  std::unique_ptr<Host> host_;
};

}  // namespace vs::unit
