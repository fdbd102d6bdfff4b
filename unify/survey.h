// Counting what every guest holds, for the report: one walk that stats every regular file.
#pragma once

#include "core/run_context.h"
#include "unify/opened_pool.h"
#include "unify/plan/guest_files.h"
#include "unify/report/savings.h"

namespace vs::unify {

// All of `Savings` but the history. Where the reflink guard is in force, files whose extents the index knows
// to be shared count as one inode (an estimate: a guest may have written to its file since, which its next
// run will see).
// `packages` are one row a name and architecture (by_name() sums them).
Savings survey(const OpenedPool& pool, const GuestPackages& packages, RunContext& context);

}  // namespace vs::unify
