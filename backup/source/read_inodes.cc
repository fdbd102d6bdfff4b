#include "backup/source/read_inodes.h"

namespace vs::backup {

void ReadInodes::merge(const ReadInode& found) {
  if (found.inode >= gone_.next_number()) gone_.resize(host_.inodes.size());
  gone_[found.inode] = found.gone;
  if (found.gone) return;
  Inode row = found.row;
  const Inode& scanned = host_.inodes[found.inode];
  row.names = scanned.names;
  row.shared = scanned.shared;
  if (row == scanned)
    changed_.erase(found.inode);
  else
    changed_[found.inode] = row;
  read_.put(found.inode, found.details);
}

InodeDetails ReadInodes::details(InodeNumber inode) const {
  return read_.known(inode) ? read_.get(inode) : known_.get(inode);
}

const Inode& ReadInodes::row(InodeNumber inode) const {
  const auto it = changed_.find(inode);
  return it == changed_.end() ? host_.inodes[inode] : it->second;
}

}  // namespace vs::backup
