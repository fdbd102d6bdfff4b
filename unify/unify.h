// The run of vunify as a list of passes (unify.cc): read first.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/run_context.h"
#include "core/store/guard.h"
#include "core/store/pool.h"
#include "unify/change/apply.h"
#include "unify/change/recovery.h"
#include "unify/change/release.h"
#include "unify/options.h"
#include "unify/plan/guest_files.h"
#include "unify/plan/link_plan.h"
#include "unify/report/savings.h"

namespace vs::unify {

// Everything a verb works with, opened in the right order. `writing` verbs make the store if need be, take
// its lock and recover first; `changing` verbs do so too, but where there is no store there is nothing to
// change, and they make nothing; looking verbs write nothing at all.
enum class Access { looking, changing, writing };

class Session {
 public:
  // Throws Error for bad options, trees, store, guard; Exit::locked when another run writes.
  Session(const Options& options, Access access, RunContext& context);
  ~Session();

  const Options& options;
  RunContext& context;
  const Rules rules;
  std::vector<Guest> guests;
  Pool pool;
  std::optional<NodevMount> view;  // what guests and store are seen through, where that is possible
  std::string store_path;
  std::unique_ptr<Store> store;  // nullptr: not writing, and there is none yet
  GuardChoice guard;
  std::unique_ptr<Index> index;
  MasterTable masters;
  RecoveryResult recovered;

  std::string cache_dir() const;                         // for package databases; "" when looking
  uint32_t guest_number(const std::string& name) const;  // throws Error(Exit::usage) naming the guest
  JournalRun journal_run(const std::string& verb, const std::string& run) const;
  ReleaseInput release_input(const JournalRun& run);  // refers to `run`
  // Gives every name of a spoiled master (release.h) a private copy; done by writing sessions when they open,
  // and after each work that may have left one.
  void release_spoiled();

 private:
  std::optional<HostLock> store_lock_, state_lock_;
};

// Numbers of one run, for people, --json and the history.
struct RunSummary {
  std::string verb, run;
  uint64_t guests = 0, files_seen = 0, files_considered = 0, files_unified_before = 0, files_linked = 0,
           masters = 0;
  uint64_t bytes_saved = 0;   // by this run, on disk
  uint64_t bytes_shared = 0;  // on disk, of all masters: held once for all guests
  uint64_t put_back = 0, classes_restored = 0, leases_broken = 0;
  ReasonCounts skipped{};
  uint64_t rows = 0, table_bytes = 0;
};

// Passes 3 to 5.
GuestFiles look_at_guests(Session& session);
// Passes 6 to 8.
LinkPlan plan_links(Session& session, GuestFiles& files);
// Pass 9, by the guard's way.
ApplyResult apply_links(Session& session, const PlannedFiles& planned, const std::vector<uint64_t>& devices,
                        const JournalRun& run, bool ignore_mtime);

RunSummary summarize(const Session& session, const std::string& verb, const GuestFiles& files);
void add_applied(RunSummary& summary, const ApplyResult& applied, const Session& session);
uint64_t bytes_of_masters(const Session& session);  // on disk

// The nightly: all passes. With dry_run it ends before pass 9.
RunSummary run_unify(Session& session, LinkPlan* plan_made = nullptr);

PlanHeader header_for(const Session& session);

}  // namespace vs::unify
