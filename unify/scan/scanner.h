// Walks the trees of guests in parallel, asking for each entry before it is stat'ed.
//
// The walk is that of core/tree/parallel_walk.h, which backup uses too. A directory is opened beneath its
// guest's root by RootDir, so a tree that changes under the walk can make it miss entries but not leave the
// tree. Other mounts are not entered. Directories deeper than kDeepestDirectory (core/tree/listing.h) are a
// Problem each, by name, and not entered. What takes time is system calls, so the visitor sees the entry as
// getdents64 gave it (name, type, inode number) and answers whether a stat is worth it.
#pragma once

#include <memory>
#include <optional>

#include "core/run_context.h"
#include "core/tree/dir_reader.h"
#include "core/tree/inventory.h"
#include "unify/scan/file_table.h"

namespace vs {

// Lives while one directory is read; used by one thread. Its destructor is the place to hand sums over.
class DirectoryVisitor {
 public:
  virtual ~DirectoryVisitor() = default;
  // For each entry that is or may be (DT_UNKNOWN) a regular file: nothing = leave it; a value = stat it and
  // keep a row with this tag.
  virtual std::optional<uint32_t> wants(const DirEntry& entry) = 0;
  // The stat of a wanted entry that is a regular file; false drops the row after all.
  virtual bool keep(const DirEntry&, const FileStat&) { return true; }
};

// Shared by all threads.
class ScanVisitor {
 public:
  virtual ~ScanVisitor() = default;
  // nullptr: do not read this directory. `path` is relative to the guest's root, "" for the root itself.
  virtual std::unique_ptr<DirectoryVisitor> enter(GuestNumber guest, std::string_view path,
                                                  const FileStat& dir) = 0;
};

struct ScanCounts {
  uint64_t directories = 0;
  uint64_t entries = 0;
  uint64_t problems = 0;  // directories or files that could not be read; each was logged
};

// Fills `table` (sorted). Stops early, with what it has, when cancelled.
ScanCounts scan_trees(Guests guests, ScanVisitor& visitor, FileTable& table, RunContext& context);

// What one directory gave; the stage body, on its own so that it can be run without TBB (thread sanitizer
// tests).
struct DirListing {
  std::vector<std::pair<FileRow, std::string>> rows;
  std::vector<std::string> subdirs;  // paths relative to the guest's root
  uint64_t entries = 0;
  std::vector<Problem> problems;
};
DirListing list_directory(const Guest& guest, GuestNumber guest_number, const std::string& path,
                          ScanVisitor& visitor, DirReader& reader);

}  // namespace vs
