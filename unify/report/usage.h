// What the files of directory trees take, in numbers that add up: see disk_usage.h for what they mean.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vs::unify {

struct Usage {
  uint64_t names = 0;  // directory entries, and the tree's own top
  uint64_t inodes = 0, inodes_shared = 0, inodes_exclusive = 0;
  uint64_t apparent = 0, on_disk = 0, shared = 0, exclusive = 0;  // bytes; blocks * 512 but for apparent
};

struct TreeUsage {
  std::string path;  // as given
  Usage usage;
  uint64_t problems = 0;  // objects that could not be read: what is in them is not counted
};

struct DiskUsage {
  std::vector<TreeUsage> trees;  // in the order given
  Usage total;
  uint64_t problems = 0;
};

}  // namespace vs::unify
