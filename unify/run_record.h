// Adds a finished run to the history of nights.
#pragma once

#include "unify/unify.h"

namespace vs::unify {
void record_run(const LockedPool& pool, const RunSummary& summary, RunContext& context);
// Removes records of old runs (--keep-runs). Trouble with that is a warning: the run itself is done.
void prune_old_runs(const LockedPool& pool, RunContext& context);
}  // namespace vs::unify
