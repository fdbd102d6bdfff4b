// Which inode is which row of a ScannedHost, for files with several names: what the walk asks for each entry.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_map>

#include "backup/source/numbers.h"
#include "core/seeded_hash.h"

namespace vs::backup {

struct InodeKey {
  uint64_t ino = 0;
  uint16_t slot = 0;
  bool operator==(const InodeKey&) const = default;
};

// Seeded: inode numbers are what guests make of them.
struct InodeKeyHash {
  size_t operator()(const InodeKey& key) const {
    const std::array<uint64_t, 2> words{key.ino, key.slot};
    return seeded_hash({reinterpret_cast<const char*>(words.data()), sizeof words});
  }
};

// Read by every entry, written once an inode. Thread safe.
class LinkTable {
 public:
  // `sealed_only`: what may be known without a stat.
  std::optional<InodeNumber> find(InodeKey key, bool sealed_only) const {
    const Shard& shard = shards_[key.ino % kShards];
    const std::shared_lock lock(shard.mutex);
    const auto it = shard.rows.find(key);
    if (it == shard.rows.end() || (sealed_only && !it->second.sealed)) return std::nullopt;
    return it->second.inode;
  }
  void add(InodeKey key, InodeNumber inode, bool sealed) {
    Shard& shard = shards_[key.ino % kShards];
    const std::unique_lock lock(shard.mutex);
    shard.rows.emplace(key, Row{inode, sealed});
  }

 private:
  static constexpr size_t kShards = 64;
  struct Row {
    InodeNumber inode;
    bool sealed;
  };
  struct Shard {
    mutable std::shared_mutex mutex;
    std::unordered_map<InodeKey, Row, InodeKeyHash> rows;
  };
  std::array<Shard, kShards> shards_;
};

}  // namespace vs::backup
