// DISK: what a vserver's own files may take, by project quota (ext4 and xfs, mounted with prjquota).
//
// Every directory and file of the tree gets the vserver's project number, and what is made in it inherits
// that. Files that are sealed and have other names (unify shares them) keep theirs: they cost nobody anything
// more. The tree's top gets it last, so a tree whose top has it is done, and the next start costs one look.
// What is mounted in the tree keeps its own: it is on another disk, or the administrator's.
//
// Root inside must not take it off again: NAME.conf's DISK has the seccomp filter refuse the calls that
// change a file's attributes (chattr), and a guest has no SYS_RESOURCE, which is above quotas.
//
// quotactl_fd(2) is called directly: glibc has no wrapper, and libquota's tools want a path and a device.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/error.h"

namespace vs::isolation {

// From the name: the same on every host that the tree is moved to. Never 0, which is everybody's.
uint32_t project_of_vserver(const std::string& name);

// For a vserver that does not run. `bytes` 0: no limit any more, and its files are nobody's again. Problem
// naming what the filesystem lacks.
Result limit_disk(const std::string& tree, const std::string& name, uint64_t bytes);

struct DiskUse {
  uint64_t used = 0, limit = 0;  // bytes
};
std::optional<DiskUse> disk_use(const std::string& tree, const std::string& name);

}  // namespace vs::isolation
