// USERNS: a guest's processes are in a user namespace of their own, so that its root and its users are ids of
// the host that nothing of the host belongs to.
//
// Context N has the ids N * 65536 to N * 65536 + 65535 of the host, or those from the number that NAME.conf
// gives: they are 0 to 65535 inside. On disk nothing changes: the tree is mounted with an id mapping
// (mount_setattr(2), MOUNT_ATTR_IDMAP), through which its files have the owners inside that they have on
// disk. Unify, backups and clones see the tree as ever, and hard links across guests go on working whichever
// of them have USERNS.
//
// All namespaces of the guest but a shared network belong to its user namespace: what its capabilities reach
// ends there.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "core/error.h"
#include "core/unique_fd.h"
#include "isolation/context/context.h"

namespace vs::isolation {

constexpr uint32_t kIdsOfGuest = 65536;

// The first of the ids of a context: `configured`, or the number's own where that is 0. Problem when a range
// of /etc/subuid or /etc/subgid, or a context that lives, has one of them.
Expected<uint32_t> first_id_of(unsigned number, uint32_t configured, const std::vector<ContextInfo>& living,
                               const char* subuid = "/etc/subuid", const char* subgid = "/etc/subgid");

// A user namespace with this mapping, for mounts; no process is in it.
Expected<UniqueFd> make_id_mapping(uint32_t first);
// By the host's root, for a process that is alone in a new user namespace.
Result map_ids(pid_t pid, uint32_t first);
// In that process, or in one that has entered: from an id of the host's that has no meaning there to its
// root.
Result become_root_inside();
// Whether a process is in another user namespace than the caller.
bool has_own_user_namespace(pid_t pid);

}  // namespace vs::isolation
