// What is mounted where, as this process sees it.
//
// Our own few lines over /proc/self/mountinfo: libmount would bring a cache and an idea of its own of which
// mounts matter, and listmount(2) is younger than the kernels we serve.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vs {

struct MountPoint {
  uint64_t id = 0;      // as FileStat::mount_id
  std::string point;    // host path, any bytes
  std::string type;     // "ext4"
  std::string options;  // the filesystem's own, "rw,errors=remount-ro"; of a cgroup hierarchy of version 1
                        // its controllers are among them
};

std::vector<MountPoint> mount_table();
// "ext4"; "" when no mount has this id.
std::string filesystem_type(uint64_t mount_id);

// A filesystem that holds data on a disk, as opposed to what the kernel makes up, to memory, and to other
// machines.
bool is_disk_filesystem(const std::string& type);

}  // namespace vs
