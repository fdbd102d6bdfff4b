// Which inodes were seen under which trees, and what that makes of them: the arithmetic of disk_usage.h.
#pragma once

#include <cstdint>
#include <limits>
#include <unordered_map>

#include "core/tree/root_dir.h"
#include "unify/report/usage.h"

namespace vs::unify {

struct InodeKey {
  uint64_t dev = 0;
  uint64_t ino = 0;
  bool operator==(const InodeKey&) const = default;
};

struct InodeKeyHash {
  // Inode numbers run in sequences and are multiples of 2^n on some filesystems: mix all bits (splitmix64).
  size_t operator()(const InodeKey& key) const {
    uint64_t x = key.ino + key.dev * 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }
};

inline InodeKey inode_key(const FileStat& stat) {
  return {stat.dev, stat.ino};
}

class InodeCounter {
 public:
  // Adds to the usages of the trees (indexes into result.trees) and to the total.
  explicit InodeCounter(DiskUsage& result) : result_(result) {}
  // Counts one name of an inode; true if it is the first one in all trees. Tree after tree.
  bool add(uint32_t tree, const FileStat& stat);

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  // What was seen of one inode so far. Blocks are those of the first sight: what is added is what is moved.
  struct Seen {
    uint64_t blocks = 0;
    uint32_t holders = 0;     // names that keep it alive, the store's not among them
    uint32_t names = 0;       // seen in all trees
    uint32_t names_here = 0;  // seen in tree `tree`
    uint32_t tree = kNone;    // the last one that it was seen in
    uint32_t exclusive_in = kNone;
  };

  bool add_only_name(uint32_t tree, const FileStat& stat);
  void enter_tree(Seen& seen, uint32_t tree, const FileStat& stat);
  void add_name(Seen& seen, uint32_t tree);

  DiskUsage& result_;
  std::unordered_map<InodeKey, Seen, InodeKeyHash> seen_;
};

}  // namespace vs::unify
