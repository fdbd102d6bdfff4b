// Removing a tree that a run of ours made, beneath an open directory.
#pragma once

namespace vs::backup {

// Seals are taken off with `unseal`: only for a tree whose inodes have no names elsewhere. Symbolic links are
// not followed. What cannot be removed stays.
void remove_below(int dir, bool unseal);

}  // namespace vs::backup
