// Finding an inode by any of its names, when its first one does not lead to it any more.
//
// What is read by one name is what all its names get, in all guests. A guest may rename a directory of its
// own, or put another file in the place of a shared one, at any moment; it must take nothing from the others
// by that. So an inode is given up only when none of its names leads to it.
//
// The scan keeps the first name of each inode only. The others are looked for in all that was scanned, once
// for all inodes that were missed together.
#pragma once

#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "backup/source/opened_inode.h"

namespace vs::backup {

// Where a name stands in the scan.
struct ScannedName {
  GuestNumber guest;
  DirNumber dir;
  size_t child = 0;  // of that DirNode
};

class OtherNames {
 public:
  // Of the inodes for which `wanted` is true; in guests `first` to `last` - 1.
  OtherNames(const ScannedHost& host, GuestNumber first, GuestNumber last,
             const std::function<bool(InodeNumber inode)>& wanted);
  const std::vector<ScannedName>& of(InodeNumber inode) const;

  struct Found {
    GuestNumber guest;
    std::string path;
    std::shared_ptr<OpenedInode> opened;
  };
  // The inode held open, and the first of its names that leads to it. If none does: ESTALE, or what went
  // wrong otherwise with one of them (EIO, say).
  Expected<Found> open(InodeNumber inode) const;

 private:
  const ScannedHost& host_;
  std::unordered_map<InodeNumber, std::vector<ScannedName>> names_;
};

// Makes each of these names an inode of its own, with that one name: it is then read, or found to be gone, by
// itself. For an inode that none of its names leads to: they are other files now. Only while nothing is under
// way in the pipeline.
void split_names(ScannedHost& host, const std::vector<ScannedName>& names);

}  // namespace vs::backup
