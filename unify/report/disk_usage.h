// Counting behind vdu: the disk of directory trees that share files by hard links, in numbers that add up.
//
// Within a tree every inode (dev, ino) counts once, and in the sum over all trees once as well: the result
// does not depend on the order of the trees, unlike du's. For each tree on_disk = shared + exclusive:
//   exclusive  inodes all of whose names are in this tree: deleting the tree frees them
//   shared     inodes with a name elsewhere: in another of the trees, or outside all of them
// A name in a `.unify/masters` store keeps no guest alive but cannot be seen from a guest's tree. So an inode
// with the immutable attribute, which is how the store seals its masters, is taken to have one name in the
// store, that is nlink - 1 others, unless all of its names turn up in the trees. What that calls exclusive is
// really freed by the next `vunify gc`. (An immutable file with another name that is not the store's is
// misjudged so.)
//
// Every kind of inode counts its blocks, directories too, as in du; apparent is the content of regular files
// and symlinks. The walk is that of core/tree/walker.h: it stays on the mount of each tree, follows no
// symlink, and what a guest renames meanwhile leads nowhere else. Memory: one record for each inode with
// several names and each directory. Not seen: extents shared by reflinks.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "unify/report/usage.h"

namespace vs::unify {

// Throws Error(Exit::usage) for a tree that cannot be opened, is a symlink, or lies inside another one (its
// names would count twice). `on_problem` is called for each object below that cannot be read; what vanishes
// meanwhile is none.
DiskUsage disk_usage(const std::vector<std::string>& trees,
                     const std::function<void(const Problem&)>& on_problem);

}  // namespace vs::unify
