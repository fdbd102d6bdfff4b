// Adds a finished run to the history of nights.
#pragma once

#include "unify/unify.h"

namespace vs::unify {
void record_run(const Session& session, const RunSummary& summary);
// Removes records of old runs (--keep-runs). Trouble with that is a warning: the run itself is done.
void prune_old_runs(const Session& session);
}  // namespace vs::unify
