// The entries of an open directory by getdents64, without a stat each.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace vs {

struct DirEntry {
  uint64_t ino = 0;  // inode number on the directory's filesystem (for a mount point: of what is below it)
  uint8_t type = 0;  // DT_*; DT_UNKNOWN where the filesystem does not say
  std::string_view name;  // NUL-terminated, valid until the next call of next()
};

// One reader a thread; the buffer is kept from directory to directory. 64 KiB holds ~2000 entries, larger
// ones showed no gain.
class DirReader {
 public:
  DirReader() : buffer_(64 * 1024) {}
  // Starts over with this directory (readable descriptor, not O_PATH; not owned).
  void start(int fd, const std::string& object);
  // The next entry but "." and ".."; false at the end. A read error ends the listing and is in problem().
  bool next(DirEntry& entry);
  const Problem* problem() const { return failed_ ? &problem_ : nullptr; }

 private:
  std::vector<char> buffer_;
  int fd_ = -1;
  size_t at_ = 0;
  size_t end_ = 0;
  bool failed_ = false;
  Problem problem_;
  std::string object_;
};

}  // namespace vs
