// The lock of vunify's store, for what unseals files that a store's masters are: while it is held no run of
// vunify has a window of its own open, nor begins to.
#pragma once

#include <string>
#include <vector>

#include "core/durable/host_lock.h"
#include "core/tree/root_dir.h"

namespace vs::isolation {

// Locks of the stores on the filesystem of `tree`: the one at its default place, .unify at the top of the
// mount, and the one that `vunify_conf` names, where they exist. Throws Error(Exit::locked) when a run holds
// one.
std::vector<HostLock> lock_stores(const RootDir& tree, const std::string& vunify_conf);

}  // namespace vs::isolation
