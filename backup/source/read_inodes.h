// What reading found, inode by inode, on top of what the scan saw and what was known before.
//
// The scan's rows and the known details are fixed before the first object is read, so the planner and all
// workers look at them without a lock. What a worker finds travels in the result of its block, and one thread
// at a time, the pipeline's sink, merges it here, in the order of the archives. Nobody else looks at this
// table while the pipeline runs; it is what catalogs are written from.
#pragma once

#include <unordered_map>
#include <vector>

#include "backup/source/inode_details.h"
#include "backup/source/scanned_host.h"
#include "core/typed_table.h"

namespace vs::backup {

// What a worker found when it read one inode.
struct ReadInode {
  InodeNumber inode;
  bool gone = false;  // it vanished, became something else, or could not be read; the rest is then empty
  Inode row;
  InodeDetails details;
};

class ReadInodes {
 public:
  ReadInodes(const ScannedHost& host, const DetailsTable& known)
      : host_(host), known_(known), read_(host.inodes.size()), gone_(host.inodes.size()) {}

  void merge(const ReadInode& found);

  bool gone(InodeNumber inode) const { return inode < gone_.next_number() && gone_[inode]; }
  bool has_details(InodeNumber inode) const { return read_.known(inode) || known_.known(inode); }
  // As it was read in this run, else as it was known before, else empty.
  InodeDetails details(InodeNumber inode) const;
  // As it was when it was read, else when it was scanned.
  const Inode& row(InodeNumber inode) const;

 private:
  const ScannedHost& host_;
  const DetailsTable& known_;
  DetailsTable read_;
  TypedBits<InodeNumber> gone_;                     // may be shorter than the host's inodes: false
  std::unordered_map<InodeNumber, Inode> changed_;  // rows that are not what the scan saw: few
};

}  // namespace vs::backup
