// Making and removing the tree of a vserver.
#pragma once

#include <string>

#include "core/error.h"

namespace vs::isolation {

// The directories and files that any tree needs, where they are missing: dev, proc, sys, run, tmp, etc, root;
// etc/passwd, etc/group, etc/hosts.
Result make_skeleton(const std::string& tree);

// Removes a tree with everything in it, immutable and append-only files included. What unify shares is
// unsealed for the moment of its unlinking, under a lease, and sealed again, by a small second process
// (core/store/seal_keeper.h) should this one be killed in that moment. Stops at another filesystem mounted in
// the tree, and at the first object that cannot be removed. The tree may be as deep as it likes: the walk is
// that of core/tree/walker.h, which holds few descriptors and says why nothing outside of the tree is
// touched.
Result remove_tree(const std::string& tree);

}  // namespace vs::isolation
