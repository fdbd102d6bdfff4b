// A pool: one mounted filesystem that holds the trees of guests. Hard links do not cross mounts, so a pool is
// a mount, not only a device.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/tree/inventory.h"
#include "core/tree/nodev_mount.h"

namespace vs {

struct Pool {
  std::string top;         // the mount point: highest directory on the same mount
  std::string filesystem;  // "ext4", "xfs", "btrfs", "tmpfs" or "0x<magic>"
  uint64_t mount_id = 0;
  uint64_t dev = 0;
  uint32_t block_size = 4096;
  bool one_device = true;  // false: btrfs subvolumes, between which only extents can be shared
};

// Throws Error(Exit::usage) naming each tree and its filesystem when they are not all on one mount, or when
// there are none.
Pool find_pool(std::span<const Guest> guests);
// The distinct mount points of these guests; for --each-pool.
std::vector<std::string> pool_tops(std::span<const Guest> guests);

// Makes the guests' roots, and `store_parent` (the directory `store_parent_path`), seen through one
// NodevMount of the pool: hard links need both ends on one mount. Nothing, and nothing changed, where that is
// not possible.
std::optional<NodevMount> look_through_private_mount(const Pool& pool, std::vector<Guest>& guests,
                                                     UniqueFd& store_parent,
                                                     const std::string& store_parent_path);

}  // namespace vs
