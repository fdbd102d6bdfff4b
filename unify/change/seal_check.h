// Pass 2, after recovery: the seal of every master is looked at, by one statx each.
//
// Nothing in this product leaves a master unsealed (core/store/unsealed_window.h), but other programs of the
// host do: lxc-destroy takes the attribute off each file that it cannot remove, and `chattr -R -i` does it by
// hand. A master is one inode for all its guests, so it loses its seal for all of them, and each of them can
// write to it. What is found unsealed is sealed at once, so that nothing more can happen to it, and then
// looked at:
//   its bytes are those that it was made with   owner, mode, times, attributes and flags are put back in a
//   window,
//                                               and it is a master as before
//   they are not, or somebody has it open for   it is retired: it gets no names any more, and
//   release_spoiled() writing and goes on through a mapping       gives each name that it has a private copy.
//   The bytes of the copy
//                                               are those of another master with the same digest if there is
//                                               one; else nobody knows the right ones, and each guest gets
//                                               what it has seen since (master_release.h). All of them are
//                                               named.
#pragma once

#include "core/run_context.h"
#include "core/store/guard.h"
#include "unify/plan/index.h"
#include "unify/plan/master_table.h"

namespace vs::unify {

struct SealsFound {
  uint64_t sealed_again = 0;  // and as they were made
  uint64_t retired = 0;
};

// The store's lock is held, and its journal is empty. Whatever is found is told as a failed object (exit code
// 3).
SealsFound look_at_seals(const Store& store, const Guard& guard, MasterTable& masters, Index& index,
                         RunContext& context);

}  // namespace vs::unify
