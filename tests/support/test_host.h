// A host for one test: a pool (loop filesystem) with guests on it, the state directory on another filesystem,
// and vunify to run over them. Knows what must hold after any run, however it ended.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/fake_guest.h"
#include "tests/support/run.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tree_snapshot.h"

namespace vs::test {

// The program under test: $VS_VUNIFY, else vunify of this build.
std::string vunify_path();

struct HostOptions {
  std::string filesystem = "ext4";
  uint64_t mebibytes = 0;  // 0: the least the filesystem takes
  std::string mkfs_options;
  std::vector<std::string> guests = {"alpha", "beta", "gamma"};
  std::vector<FakePackage> packages;  // in each guest
  std::string scope = "packages";
  std::function<void(const FakeGuest&)> prepare;  // more for each guest, before anything is looked at
};

class TestHost {
 public:
  explicit TestHost(HostOptions options);
  // Everything as in the beginning: guests made anew, no store, no state.
  void reset();

  std::string pool() const { return filesystem_.path(); }
  LoopFilesystem& filesystem() { return filesystem_; }
  // What a line of strace -y holds when the call is about this host: vunify sees the pool through a mount of
  // its own, where paths begin at the pool's top.
  std::vector<std::string> trace_marks() const;
  std::string store() const { return pool() + "/.unify"; }
  std::string state() const { return dir_ / "state"; }
  std::string scratch(const std::string& name) const { return dir_ / name; }  // on the host's filesystem
  const std::vector<FakeGuest>& guests() const { return guests_; }
  const FakeGuest& guest(const std::string& name) const;
  std::string guard() const { return filesystem_.type() == "ext4" ? "immutable" : "reflink"; }
  bool seals() const { return guard() == "immutable"; }

  // vunify VERB over all guests of this host, with these words after VERB.
  Command command(const std::string& verb, const Command& more = {}) const;
  RunResult vunify(const std::string& verb, const Command& more = {}, const RunOptions& options = {}) const;

  std::vector<TreeSnapshot> snapshots() const;  // in the order of guests()
  // "" when every guest is as in `before`.
  std::string changes_since(const std::vector<TreeSnapshot>& before, Links links = Links::may_merge) const;
  // What is wrong with the store: something in staging, a master without its seal. Sorted, empty when fine.
  std::vector<std::string> store_defects() const;
  std::vector<std::string> masters() const;
  // Names in guests (regular files) that are sealed now.
  uint64_t sealed_names() const;
  // `recover`, then everything that must hold after an interrupted run; "" when all of it does.
  std::string trouble_after_recovery(const std::vector<TreeSnapshot>& before) const;

 private:
  HostOptions options_;
  TempDir dir_;
  LoopFilesystem filesystem_;
  std::vector<FakeGuest> guests_;
};

// Value of a key of the summary line of --json output ("files_linked"); 0 when there is none.
uint64_t summary_number(const RunResult& result, const std::string& key);

}  // namespace vs::test
