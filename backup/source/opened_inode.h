// Opening what the scan saw, by one of its names.
//
// Another file under the same name is stored as that name's content, but only where the inode had no other
// name. With several, in one guest or in many, all of them get what is read here: so it must be the very
// inode that the scan saw, or one guest could give its bytes to another by putting its own file in the place
// of a shared one. Which of the names leads to it does not matter: OtherNames (other_names.h) tries them all.
#pragma once

#include <string>

#include "backup/source/scanned_host.h"
#include "core/unique_fd.h"

namespace vs::backup {

// An inode that is held open: a regular file for reading, anything else by O_PATH.
struct OpenedInode {
  UniqueFd fd;
  FileStat stat;
  std::string shown;  // the path it was found by, for messages
};

// By one of its names. ESTALE: that name is of another inode now, or of another kind of thing.
Expected<OpenedInode> open_inode(const ScannedHost& host, const Inode& inode, GuestNumber guest,
                                 const std::string& path);
// Whether a failure means that there is no such name any more: no error, the guest may remove its files.
bool is_gone(const Problem& problem);

}  // namespace vs::backup
