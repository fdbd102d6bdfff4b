// Adds a finished run to the history of nights.
#pragma once

#include "unify/unify.h"

namespace vs::unify {
void record_run(const Session& session, const RunSummary& summary);
}
