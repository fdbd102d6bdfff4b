// The first step of the consistency ladder: read a snapshot of a guest's tree in place of the tree.
//
// On btrfs, where the tree is a subvolume, a read-only snapshot costs milliseconds and is what the guest's files were in one moment, without stopping
// anything. It stands beside the tree as ".vbackup-snapshot-NAME" while the run lasts; one that a killed run left is removed by the next. Inode numbers and times are those of the
// tree, so the index knows them; the snapshot's own filesystem id is not used (WalkOptions::filesystems).
// Subvolumes inside of the tree are not part of its snapshot: they stand as empty directories, as they do without one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/inventory.h"

namespace vs::backup {

class SnapshotTree {
 public:
  // ENOTSUP in the Problem: no filesystem that can, or the tree is no subvolume.
  static Expected<std::unique_ptr<SnapshotTree>> make(const Guest& guest);
  ~SnapshotTree();  // removes it
  SnapshotTree(const SnapshotTree&) = delete;

  RootDir open() const;            // its root
  uint64_t filesystem() const { return filesystem_; }  // of the tree it was made of

 private:
  SnapshotTree() = default;
  UniqueFd parent_;
  std::string parent_path_, name_;
  uint64_t filesystem_ = 0;
};

}  // namespace vs::backup
