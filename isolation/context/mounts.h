// What a guest sees as its file system: its tree as the root of its mount namespace, and new instances of
// what must not be the host's.
//
// Why it is safe though the tree is hostile: the tree is cloned as a mount of its own and becomes the root by
// pivot_root before anything is looked up in it; the old root is detached, so nothing beneath can lead to the
// host. After that targets are opened beneath "/" without following a symbolic link, and mounts are made by
// fsopen and moved onto the open descriptors, never onto a path. Device nodes are made in a tmpfs of ours,
// and what masks files in /proc is a clone of a node there that we made ourselves. No code of the guest runs
// meanwhile.
//
// The tree becomes the root of the whole mount namespace, not only of the process, also when vserver itself
// was called in a chroot; that is looked at afterwards in the way in which `exec` will arrive (setns), and
// the start fails if anything else is there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/unique_fd.h"

namespace vs::isolation {

struct BindMount {
  std::string host, guest;
  bool read_only = false;
};

struct MountPlan {
  std::string root;  // the tree, a host path
  std::vector<BindMount> binds;
  std::string reboot = {};  // host directory of the guest's /dev/vserver, see reboot_place.h
};

// Mounts that are attached nowhere yet. What a user namespace cannot make is made for it here: the mounts of
// the host's directories, device nodes, and the sysfs of the host's network.
struct GuestMounts {
  UniqueFd tree, reboot, dev, sys;
  std::vector<UniqueFd> binds;
};

// How the owners of the host's files appear inside, for a guest with a user namespace.
struct IdMapping {
  int mapping = -1;    // of make_id_mapping()
  uint32_t first = 0;  // 0: there is none, and ids are the host's
};

// With CAP_SYS_ADMIN and CAP_MKNOD on the host. `own_network`: the guest mounts its sysfs itself.
Expected<GuestMounts> prepare_guest_mounts(const MountPlan& plan, const IdMapping& ids, bool own_network);
// In the first process of a new context, with CAP_SYS_ADMIN in its user namespace: all of the above. Ends
// with "/" as working directory.
Result enter_guest_root(const MountPlan& plan, GuestMounts mounts);
// For chcontext, which stays in the host's tree: own mount propagation and a /proc of the new pid namespace.
// EXDEV: called in a chroot, where who enters the context would not arrive.
Result fresh_proc();
// For its flag hideinfo: an empty directory over the register of contexts, with what tells that this is not
// the host.
Result hide_register(const std::string& run);

}  // namespace vs::isolation
