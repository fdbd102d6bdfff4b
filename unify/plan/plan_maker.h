// Pass 8: turns what was verified into the plan.
#pragma once

#include <vector>

#include "unify/plan/link_plan.h"
#include "unify/plan/verify.h"

namespace vs::unify {

// Turns verdicts into the plan. Counts the refused in `counts`; what was learned goes to the index
// (unless that is null). With `reflink`, duplicates whose extents are shared already count as unified and
// only one of them is kept, as the donor.
LinkPlan make_plan(const VerifyInput& input, std::vector<GroupVerdict> verdicts, bool reflink, Index* index,
                   TypedVector<GuestNumber, GuestCounts>& counts);

}  // namespace vs::unify
