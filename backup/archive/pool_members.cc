#include "backup/archive/pool_members.h"

#include <algorithm>
#include <string>

#include "core/seeded_hash.h"

namespace vs::backup {
namespace {

size_t hash_of(const Entry& entry) {
  Entry plain = entry;
  plain.name.clear();
  plain.btime_ns = 0;
  plain.archive = 0;
  plain.offset = 0;
  plain.inconsistent = false;
  plain.linked = false;
  plain.group = 0;
  std::string bytes;
  append_entry(bytes, plain);
  return seeded_hash(bytes);
}

}  // namespace

PoolMembers::PoolMembers(size_t inodes, std::map<uint64_t, Entry> stored, uint64_t next)
    : number_(inodes), mark_(inodes), stored_(std::move(stored)), next_(next) {
  for (const auto& [number, entry] : stored_) by_hash_.emplace(hash_of(entry), number);
}

bool PoolMembers::claim(InodeNumber inode, const Entry& entry, uint64_t ino) {
  const std::lock_guard lock(mutex_);
  uint64_t found = 0;
  const auto [begin, end] = by_hash_.equal_range(hash_of(entry));
  for (auto it = begin; it != end; ++it) {
    const Entry& member = stored_.at(it->second);
    Entry plain = entry;
    plain.linked = member.linked;
    if (claimed_.contains(it->second) || !same_object(member, plain)) continue;
    if (found == 0 || it->second < found || member.group == ino) found = it->second;
    if (member.group == ino) break;
  }
  if (found == 0) return false;
  number_[inode] = found;
  claimed_.insert(found);
  return true;
}

uint32_t PoolMembers::mark_of(InodeNumber inode, const std::function<Entry()>& entry) {
  if (mark_[inode] == 0) mark_[inode] = member_mark(entry());
  return mark_[inode];
}

void PoolMembers::make_new(InodeNumber inode) {
  const std::lock_guard lock(mutex_);
  number_[inode] = next_++;
}

bool PoolMembers::any_stored(const std::function<bool(const Entry&)>& alike) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(stored_.begin(), stored_.end(),
                     [&](const auto& member) { return alike(member.second); });
}

void PoolMembers::forget_stored() {
  const std::lock_guard lock(mutex_);
  stored_.clear();
  by_hash_.clear();
  claimed_.clear();
}

}  // namespace vs::backup
