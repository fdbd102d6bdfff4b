// Where the store of a filesystem is, for whoever has to find it: `vunify` itself, and the runtime, which
// must not unseal a shared file while a run of vunify has it unsealed.
#pragma once

#include <string>
#include <vector>

#include "core/durable/host_lock.h"
#include "core/tree/root_dir.h"

namespace vs {

// Holds this directory's mount, without the path from "/" that may lead elsewhere by now.
struct MountTop {
  UniqueFd fd;       // the highest directory on the mount that `tree` is on
  std::string path;  // of it on the host; "" when that cannot be told
};
MountTop top_of_mount(const RootDir& tree);

// `.unify` at the top of the mount: where the store is unless a place is configured.
std::string default_store_path(const std::string& top);
// The place that is configured: of the environment (VS_STORE) or, without that, of the line `store = PATH` in
// vunify's configuration file, which need not exist. "": none is, so the store is at its default place.
// (vunify's --store comes before both.) Throws Error(Exit::usage) for a file that cannot be read.
std::string configured_store(const std::string& vunify_conf);

// The locks of the stores on the filesystem of `tree`, the configured one and the one at the default place,
// each where it exists. While they are held no run of vunify unseals a file, nor begins to. Throws
// Error(Exit::locked) when a run holds one.
std::vector<HostLock> lock_stores(const RootDir& tree, const std::string& vunify_conf);

}  // namespace vs
