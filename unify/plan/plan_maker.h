// Pass 8: turns what was verified into the plan.
#pragma once

#include <vector>

#include "core/typed_table.h"
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
// Where inodes are shared, what only one guest has and that has a project stays as it is (own_project.h).
MadePlan make_plan(const VerifyInput& input, std::vector<GroupVerdict> verdicts, bool reflink, Index* index);

// By number: whether what is made in this guest's tree counts for a quota project.
TypedBits<GuestNumber> guests_with_project(Guests guests);

// Whether nobody has this content but one of these guests, no master that somebody else may have neither.
bool is_of_own_project(const VerifyInput& input, const TypedBits<GuestNumber>& counted,
                       const VerifiedContent& content);

}  // namespace vs::unify
