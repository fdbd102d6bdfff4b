// Which member of the pool each shared inode of a run is.
//
// Objects that several guests share are members of the pool, once each, numbered. A member is found again by
// everything that it is (type, bytes by digest, owner, mode, mtime, attributes), not by its inode number: a
// host that lost its index, or another host with the same programs, adds nothing twice. Two inodes of one run
// never become one member, so links are restored as they were.
//
// Any thread may call anything but forget_stored(). of() takes no lock: a number is written before the first
// item that refers to it is handed to a worker.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "backup/archive/catalog.h"
#include "backup/source/numbers.h"
#include "core/typed_number.h"

namespace vs::backup {

class PoolMembers {
 public:
  // `stored`: members that are in the pool already. New ones are numbered from `next` on.
  PoolMembers(size_t inodes, std::map<uint64_t, Entry> stored, uint64_t next);

  // Makes the inode a member that is stored, is just this, and that no other inode of this run is; the one
  // that had its inode number if there is a choice. False if there is none.
  bool claim(InodeNumber inode, const Entry& entry, uint64_t ino);
  void make_new(InodeNumber inode);
  uint64_t of(InodeNumber inode) const { return number_[inode]; }
  // member_mark() of what `entry` makes, once an inode. Called by the sink only.
  uint32_t mark_of(InodeNumber inode, const std::function<Entry()>& entry);
  bool any_stored(const std::function<bool(const Entry&)>& alike) const;
  // Names refer to members by number: what the stored ones are, 150 bytes each, is not asked for any more.
  void forget_stored();

 private:
  TypedVector<InodeNumber, uint64_t> number_;
  TypedVector<InodeNumber, uint32_t> mark_;  // 0 until it is asked for; the sink's
  mutable std::mutex mutex_;                 // guards the rest
  std::map<uint64_t, Entry> stored_;
  std::unordered_multimap<size_t, uint64_t> by_hash_;  // of what it is
  std::unordered_set<uint64_t> claimed_;
  uint64_t next_;
};

}  // namespace vs::backup
