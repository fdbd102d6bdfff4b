// Pass 8: turns what was verified into the plan.
#pragma once

#include <vector>

#include "unify/plan/link_plan.h"
#include "unify/plan/verify.h"

namespace vs::unify {

struct MadePlan {
  LinkPlan plan;
  CountsByGuest counts;              // names that are not in the plan: skipped, by reason, or unified already
  uint64_t bytes_shared_before = 0;  // with `reflink`: copies that are not there, of what is shared already
};

// Turns verdicts into the plan. What was learned goes to the index (unless that is null). With `reflink`,
// duplicates whose extents are shared already count as unified and only one of them is kept, as the donor.
MadePlan make_plan(const VerifyInput& input, std::vector<GroupVerdict> verdicts, bool reflink, Index* index);

}  // namespace vs::unify
