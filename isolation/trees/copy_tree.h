// What is in one directory tree copied into another, with all that a file has.
//
// Bytes (reflinked where the filesystem can, holes stay holes), owner, mode, times, extended attributes, and
// which names are links of one file. Not: attributes of chattr(1), and birth times.
//
// cp(1) copies by paths and fails where they are longer than PATH_MAX, which a guest can arrange. This is a
// visitor of core/tree/walker.h: any depth, few descriptors, and nothing outside of the model is read. It is
// written beneath the target's descriptor, each name made anew (O_EXCL), and no symbolic link is followed.
#pragma once

#include "core/error.h"
#include "core/tree/root_dir.h"

namespace vs::isolation {

// What is in `to` already stays as it is; directories are merged, and owner, mode and times of all of them
// are those of `from`. What is mounted in `from` is an empty directory. The first Problem ends it: what was
// copied so far stays. No process of the guests of either tree may be running. Killed: half a tree, which the
// caller removes.
Result copy_tree(const RootDir& from, const RootDir& to);

}  // namespace vs::isolation
