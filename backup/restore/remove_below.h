// Removing a tree that a run of ours made, beneath an open directory.
#pragma once

namespace vs::backup {

// Seals are taken off with `unseal`: only for a tree whose inodes have no names elsewhere. Symbolic links are
// not followed, mounts are not entered, and the tree may be as deep as it likes (core/tree/walker.h). What
// cannot be removed stays.
void remove_below(int dir, bool unseal);

}  // namespace vs::backup
