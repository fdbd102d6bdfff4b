// One directory of a hostile tree, opened to be listed: what every walk has in common.
//
// TreeWalk (walker.h) goes through a tree in one thread, in order, with few descriptors. walk_directories
// (parallel_walk.h) lists directories in all threads, in no order. Both open a directory through RootDir
// alone, so both have its argument why nothing outside of the tree is ever opened, and both judge what they
// meet by the functions below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/tree/dir_reader.h"
#include "core/tree/root_dir.h"
#include "core/unique_fd.h"

namespace vs {

// How deep scan and backup look, in directories below the guest's root. No package and no program of a sane
// mind nests deeper, and a guest can nest without end to make us work: each directory is opened by its path,
// so the work of a chain grows with the square of its length.
inline constexpr size_t kDeepestDirectory = 1024;

// The object is gone, or something else has its name, since its directory was listed. The guest is alive and
// may do so: nothing to report.
bool vanished(const Problem& problem);

// The longest path of a directory that a backup goes into, in bytes: four times what a program can name at
// once (PATH_MAX). Each name below is stored with its whole path.
inline constexpr size_t kLongestDirectory = 16 << 10;

// "a/b/c" -> 3; "" (the root) -> 0.
size_t depth_of(std::string_view path);

// For messages: the host path of `path` in this tree. The middle of one that is longer than a few lines is
// left out: a guest makes paths of megabytes.
std::string shown_path(const RootDir& root, std::string_view path);

// Names the directory that is not gone into because of its depth. Code ELOOP.
Problem too_deep(const RootDir& root, std::string_view path, size_t limit);
// The same for one whose path is longer than kLongestDirectory. Code ENAMETOOLONG.
Problem too_long(const RootDir& root, std::string_view path);

// DT_* of an entry of the open directory `dir`; asks for the stat where the filesystem does not say.
// DT_UNKNOWN when that fails: it is gone.
uint8_t type_of(const DirEntry& entry, int dir);

// DT_* of what a stat found.
uint8_t type_of(const FileStat& stat);

struct OpenDirectory {
  UniqueFd fd;  // for reading
  FileStat stat;
};
// Two system calls, for a path that is longer than PATH_MAX one more for each piece of it. A Problem with
// code EXDEV: another mount, which is not entered and is nothing to report either.
Expected<OpenDirectory> open_to_list(const RootDir& root, const std::string& path);

// Trouble of open_to_list() that an administrator should hear of.
bool is_trouble(const Problem& problem);

}  // namespace vs
