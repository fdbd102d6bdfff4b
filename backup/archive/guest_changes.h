// What changed in a guest since the last archive of its chain: found by comparing with its catalogs,
// directory by directory.
//
// An incremental holds the directories whose list or attributes differ, with GNU.dumpdir, and the objects
// that differ. An inode with several names in one guest is written again with all of them if anything of the
// group differs: GNU tar unlinks before it extracts, so the other names would keep the old file.
//
// Threads: plan_directory() is the planner's. may_have() and has() may be called by workers meanwhile.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "backup/archive/pool_members.h"
#include "backup/archive/stored_objects.h"
#include "backup/archive/target.h"

namespace vs::backup {

class GuestChanges {
 public:
  // `previous` empty: all is new. `incremental`: directories that are written have a list of what is in them.
  GuestChanges(const RunView& run, const PoolMembers& members, GuestNumber guest, Dirs previous,
               bool incremental);

  DirectoryWants plan_directory(DirNumber dir, const std::string& path);
  bool may_have(InodeNumber inode, const Inode& row) const;
  bool has(InodeNumber inode, Entry entry) const;
  const Dirs& previous() const { return previous_; }

 private:
  using Paths = std::vector<std::string>;
  std::unordered_map<InodeNumber, Paths> linked_inodes() const;
  void compare_link_groups();
  DirectoryWants::Want compare(InodeNumber inode, const Entry* old, bool linked);
  DirectoryWants::Want compare_child(InodeNumber inode, const Entry* old);
  std::string list_of(const DirNode& node, const std::vector<DirectoryWants::Want>& wants) const;

  const RunView& run_;
  const PoolMembers& members_;
  GuestNumber guest_;
  Dirs previous_;
  bool incremental_;
  std::unordered_set<InodeNumber>
      same_groups_;            // inodes with several names of this guest that are what they were
  std::vector<Entry> before_;  // scratch: of the directory being planned
  mutable std::mutex mutex_;   // guards unread_
  std::unordered_map<InodeNumber, Entry>
      unread_;  // inode -> what it was: stored only if it differs when it is read
};

}  // namespace vs::backup
