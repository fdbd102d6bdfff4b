// The run of vunify as a list of passes (unify.cc): read first.
#pragma once

#include <optional>
#include <string>

#include "core/run_context.h"
#include "unify/change/apply.h"
#include "unify/opened_pool.h"
#include "unify/plan/guest_files.h"
#include "unify/plan/link_plan.h"

namespace vs::unify {

// Numbers of one run, for people, --json and the history.
struct RunSummary {
  std::string verb;
  std::optional<std::string> run;  // none: nothing was changed, so there is nothing to undo
  uint64_t guests = 0, files_seen = 0, files_considered = 0, files_unified_before = 0, files_linked = 0,
           masters = 0;
  uint64_t bytes_saved = 0;       // by this run, on disk
  uint64_t bytes_held = 0;        // will be saved as well when the programs end that hold the old files open
  uint64_t bytes_shared = 0;      // on disk, of all masters: held once for all guests
  uint64_t bytes_in_extents = 0;  // reflink: of all copies that are not there, as of the end of the run
  uint64_t put_back = 0, classes_restored = 0, leases_broken = 0;
  uint64_t longest_window_us = 0;  // in which a master was unsealed
  ReasonCounts skipped{};
  uint64_t rows = 0, table_bytes = 0;
};

// What passes 3 to 8 made.
struct PlannedRun {
  GuestFiles files;
  LinkPlan plan;
  uint64_t bytes_shared_before = 0;  // MadePlan
};

// The nightly run, of a pool that is whole: passes 3 to 9.
RunSummary run_unify(LockedPool& pool, RunContext& context);
// Passes 3 to 8: what a run would do. Changes no guest.
PlannedRun plan_run(const OpenedPool& pool, const KeptKnowledge& kept, RunContext& context);
// Bytes on disk that apply_links() would free.
uint64_t bytes_to_save(const OpenedPool& pool, const PlannedRun& planned, RunContext& context);
// Passes 3 to 5.
GuestFiles find_files(const OpenedPool& pool, const KeptKnowledge& kept, RunContext& context);

// Pass 9, in the way of the guard.
struct PlannedLinks {
  const LinkPlan& plan;
  const FileTable& table;  // whose rows the plan names
  GuestDevices devices;
  bool ignore_mtime = false;
};
ApplyResult apply_links(LockedPool& pool, const PlannedLinks& links, const JournalRun& run,
                        RunContext& context);

RunSummary summarize(const OpenedPool& pool, const std::string& verb, const GuestFiles& files);
void add_applied(RunSummary& summary, const ApplyResult& applied, const OpenedPool& pool);

}  // namespace vs::unify
