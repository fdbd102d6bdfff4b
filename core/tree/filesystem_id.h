// Which filesystem a file is on, by a number that outlives reboots.
#pragma once

#include <cstdint>

namespace vs {

// By a descriptor of a directory (O_PATH allowed): what the filesystem's UUID makes it (on btrfs of the
// subvolume, too), or where there is none to be had the device number, which may be another after each mount.
// Unlike st_dev it is the same for a filesystem and its snapshots on other volumes.
uint64_t filesystem_id(int dir);

}  // namespace vs
