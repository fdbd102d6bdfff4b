// Directories of trees listed by all threads, in no order: how scan and backup walk.
//
// The loop knows nothing of what a directory is asked. `list` is a plain function that does one directory
// (the stage body) and answers which directories are to be listed because of it; it can be driven by any
// threads, as the tests under the thread sanitizer do. No exception may leave it. It is called until nothing
// is left or `cancel` asks to stop, which is looked at before each directory.
//
// A directory is opened by its path from its guest's root (listing.h), so it costs one descriptor while it is
// listed and none while it waits: a thread has one directory open at a time, however deep the trees are. What
// waits is a path each, so memory is bounded by the number of directories that siblings of directories have.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/tree/dir_reader.h"

namespace vs {

struct DirectoryTask {
  uint32_t guest = 0;
  uint32_t number = 0;  // for the caller: which row is this directory's
  std::string path;     // relative to the guest's root
};

// Each thread has a reader of its own.
using ListDirectory = std::function<std::vector<DirectoryTask>(const DirectoryTask& task, DirReader& reader)>;

void walk_directories(const std::vector<DirectoryTask>& roots, const Cancel& cancel,
                      const ListDirectory& list);

}  // namespace vs
