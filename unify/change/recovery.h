// Pass 2: makes whole what an interrupted run left, at the start of each verb that writes and by `vunify
// recover`.
//
// The journal names every staging entry of the unfinished batches, the guest's name it belongs to and both
// inodes, so each entry can only be:
//   the new inode      it was not exchanged, or was exchanged back: removed
//   the old inode      it was exchanged. A link is finished if all names of that inode were exchanged, nobody
//                      has it open for writing, and it equals the master in bytes and class; else the guest
//                      gets it back. A release is finished by removing the master's name.
//   something else     it came out of an exchange with a name that the guest had just replaced: the guest
//   gets
//                      it back, also when it is a name of another master
// First of all every master of these batches is sealed, and its content compared with its digest.
// Staging entries that no journal explains (the state directory was lost) are masters' names, which are
// removed, or go to lost/. Doing this twice, or being killed in it, changes nothing: each step decides by
// what it finds.
#pragma once

#include <optional>
#include <string>

#include "core/run_context.h"
#include "core/store/guard.h"
#include "unify/plan/index.h"
#include "unify/plan/master_table.h"

namespace vs::unify {

struct RecoveryResult {
  bool needed = false;             // something was not whole
  std::optional<std::string> run;  // the interrupted one; none: no journal told of it
  uint64_t finished = 0;           // names that got or kept their master
  uint64_t rolled_back = 0;        // names that have their own inode again
  uint64_t sealed = 0;             // masters looked after
  uint64_t lost = 0;               // entries now in lost/
  uint64_t unfinished =
      0;  // what is not whole, mostly because a process still has a master open for writing: try again later
};

// The store's lock is held. `view` is what the store is seen through (nullptr: the mount itself); the
// journal's trees are opened in it too, as names are exchanged within one mount only. Throws Error when the
// journal belongs to another store.
RecoveryResult recover_store(const Store& store, const Guard& guard, const NodevMount* view,
                             const std::string& state_dir, MasterTable& masters, Index& index,
                             RunContext& context);

// True when there is something to recover; changes nothing.
bool needs_recovery(const Store* store, const std::string& state_dir);

}  // namespace vs::unify
