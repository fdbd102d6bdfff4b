// Private copies back: for `vunify release` (a guest wants to upgrade) and `vunify undo` (a run shall not
// have been).
#pragma once

#include <string>
#include <vector>

#include "core/run_context.h"
#include "core/store/guard.h"
#include "unify/change/journal.h"
#include "unify/change/names_of_masters.h"
#include "unify/plan/eligibility.h"
#include "unify/plan/index.h"
#include "unify/plan/master_table.h"

namespace vs::unify {

struct ReleaseInput {
  Guests guests;
  const Store& store;
  const Guard& guard;
  MasterTable& masters;
  Index& index;
  const JournalRun& run;
  std::string state_dir;
};

struct ReleaseResult {
  uint64_t released = 0;
  uint64_t bytes_copied = 0;
  ReasonCounts skipped{};
};

// Each name gets a copy of its master, writable by its guest, by the same exchange as linking; journaled.
// Names whose inode is not the master any more are left alone (changed_meanwhile). Names of one link group
// become links of one copy, all of them or none; all others, equal as they are, become files of their own, as
// they were. (Only a guest that writes to a copy in the very microseconds in which a link of it is refused
// has a group split: its bytes come first.)
ReleaseResult release_names(const ReleaseInput& input, std::vector<NameOfMaster> names, RunContext& context);

}  // namespace vs::unify
