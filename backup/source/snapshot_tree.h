// The first step of the consistency ladder: read a snapshot of each guest's tree in place of the tree.
//
// A snapshot is what the guest's files were in one moment, without stopping anything. Two kinds of it stand
// behind this header, on btrfs where the tree is a subvolume (btrfs_snapshot.cc) and on ext2/3/4 and xfs
// where the filesystem is a logical volume (lvm_snapshot.h). Inode numbers, birth times and ctimes are those
// of the tree in both, so the index knows the inodes; only the device differs, and it is the tree's own
// filesystem that they are known by (WalkOptions::filesystems).
//
// A snapshot lasts as long as its object. One that a killed run left is removed by the next run.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/tree/inventory.h"

namespace vs::backup {

class SnapshotTree {
 public:
  virtual ~SnapshotTree() = default;
  virtual RootDir open() const = 0;         // its root
  virtual uint64_t filesystem() const = 0;  // of the tree it was made of
  virtual Result holds() const {
    return Ok{};
  }  // a Problem once it is not whole any more: what was read of it is worth nothing then
};

struct SnapshotOptions {
  uint64_t reserve_percent =
      20;  // of an LVM volume, for what is overwritten meanwhile: LvmVolume::reserve_extents()
  bool subvolumes = true;  // those inside of a tree are to be read too: a tree that has some is refused
};

// One a guest, in their order, or none. ENOTSUP in the Problem: they are where no snapshots are, and nothing
// was tried; any other trouble is worth a word.
Expected<std::vector<std::unique_ptr<SnapshotTree>>> take_snapshots(const std::vector<Guest>& guests,
                                                                    const SnapshotOptions& options);

// Removes LVM snapshots that killed runs left, wherever they are: they would fill up and cost every write
// meanwhile. Throws nothing; what was removed, and what could not be.
std::vector<std::string> sweep_snapshots();

// Of one tree that is a subvolume. It stands beside the tree as ".vbackup-snapshot-NAME". Subvolumes inside
// of the tree are not part of it, empty directories stand for them: with options.subvolumes a tree that has
// some is refused (ENOTSUP), so that they are read live.
Expected<std::unique_ptr<SnapshotTree>> make_btrfs_snapshot(const Guest& guest,
                                                            const SnapshotOptions& options);

}  // namespace vs::backup
