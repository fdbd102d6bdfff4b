// A copy of a vserver's tree: what is sealed (unify shares it) gets one more name each, the rest is copied
// (copy_tree.h), reflinked where the filesystem can.
//
// A sealed file must be unsealed for a moment to gain a name (core/store/unsealed_window.h). The locks of
// unify's stores (core/store/store_place.h) are held meanwhile. The windows are opened by a process in a
// session of its own, which ends the one it is in when the command that started it is killed. What is left is
// a crash of the machine: then `vunify recover` seals every master before guests run.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"
#include "core/log.h"

namespace vs::isolation {

struct CloneCounts {
  uint64_t linked = 0;  // names of sealed files
  uint64_t copied = 0;  // of sealed files that could gain no name: somebody has them open for writing, or
                        // they have as many as the filesystem allows
};

// Both are paths of directories; `to` is empty. The vserver of `from` does not run; others that share files
// with it may. Throws Error.
CloneCounts clone_tree(const std::string& from, const std::string& to, const std::string& vunify_conf,
                       Log& log);

}  // namespace vs::isolation
