// Masters that no guest has a name of any more: for `vunify gc`.
#pragma once

#include <string>

#include "core/run_context.h"
#include "core/store/guard.h"
#include "unify/change/journal.h"
#include "unify/plan/master_table.h"

namespace vs::unify {

struct GcResult {
  uint64_t removed = 0;
  uint64_t bytes_freed = 0;
  uint64_t failed = 0;
};
struct GcInput {
  const Store& store;
  const Guard& guard;
  const MasterTable& masters;
  Index& index;
  const JournalRun& run;
  std::string state_dir;
};
// What collect_garbage() would remove: masters that no guest has a name of. Changes nothing.
GcResult find_garbage(const Store& store, const MasterTable& masters, RunContext& context);
// Removes them, journaled as a run without steps, so that recovery seals what a kill left unsealed.
GcResult collect_garbage(const GcInput& input, RunContext& context);

}  // namespace vs::unify
