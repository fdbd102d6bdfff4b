// Guests whose files count for a quota project (DISK of NAME.conf), and masters that only one of them has.
//
// A master counts for nobody (core/store/project.h). What several guests have need not: each of them would
// have had it, and none pays for the others. But what one guest alone has would be taken off its quota, and
// it could write two equal files again and again and have any amount of disk. So a file that only one guest
// has, and that guest has a project, is not shared (Reason::own_project, plan_maker.h); and where the others
// dropped theirs, the one that is left gets private copies, which count for it. Where its quota has no room
// for them the master stays, and the next run tries again.
//
// What is not prevented: two guests that work together can write the same files, which then count for
// neither; each night as much as their quotas have room for. Nothing tells them from two guests that have the
// same packages.
#pragma once

#include "unify/opened_pool.h"
#include "unify/plan/guest_files.h"

namespace vs::unify {

// After apply. `files` is of the scan of this run. Does nothing unless all guests of the pool were looked at.
void give_back_uncounted(LockedPool& pool, const GuestFiles& files, RunContext& context);

}  // namespace vs::unify
