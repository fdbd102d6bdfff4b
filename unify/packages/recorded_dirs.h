// The directories that a package database names, and which directories of the guest they are today.
//
// /bin/ls and /usr/bin/ls are one file where /bin is a symlink: so a directory is known by its inode number
// in the guest, found by going there, and never by its spelling. Each directory is looked up once, however
// many files it has: a name in a parent that is already open costs one statx.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "core/tree/root_dir.h"

namespace vs::unify {

class RecordedDirs {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;
  // resolve() holds one descriptor a level, so this times the number of threads stays below the usual 1024.
  // Packages have been seen ~25 deep.
  static constexpr uint32_t kMaxDepth = 64;
  static constexpr size_t kMaxDirs = 2'000'000;  // a database that names more wants our memory
  static constexpr size_t kMaxName = 255;        // NAME_MAX
  // Names of directories that are symlinks; one can cost the kernel milliseconds. A guest has some ten (/bin,
  // /lib).
  static constexpr size_t kMaxLinks = 1000;

  RecordedDirs();

  // The number of this directory, the same for each spelling of it ("/usr//lib/.", "usr/lib"); "" is the
  // root. kNone for a path that cannot be a directory below the root: "..", NUL, too deep, names too long; or
  // too many.
  uint32_t add(std::string_view path);

  // The inode number of each directory in the guest (index: what add() gave), 0 where there is no such
  // directory or it lies on another mount. Symlinks are resolved inside the guest; `all` is false
  // when there were more than kMaxLinks, and the others are 0.
  std::vector<uint64_t> resolve(const RootDir& root, bool& all) const;

 private:
  friend class DirResolver;
  struct Node {
    std::string_view path;  // normalized, in blocks_; the parent's is a prefix of it
    uint64_t hash = 0;
    uint32_t parent = kNone;
    uint32_t depth = 0;
  };

  uint32_t find(std::string_view path, uint64_t hash) const;
  uint32_t add_normalized(std::string_view path);
  uint32_t insert(std::string_view stored, uint64_t hash, uint32_t parent);
  uint64_t hash(std::string_view path) const;
  std::string_view store(std::string_view path);
  void grow();

  std::vector<Node> nodes_;
  std::vector<uint32_t> slots_;  // open addressing: node number + 1, 0 is empty
  std::vector<std::unique_ptr<char[]>> blocks_;
  size_t block_left_ = 0;
  uint64_t seed_ = 0;           // random: a guest that knew it could make every lookup collide
  std::string_view last_path_;  // files of one directory mostly come in a row
  uint32_t last_ = kNone;
};

}  // namespace vs::unify
