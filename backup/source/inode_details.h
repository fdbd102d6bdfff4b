// What is to be known of an inode beside its stat: attributes, flags, project, a symlink's target, the digest
// of a file's bytes.
//
// Read through descriptors only. What cannot be opened without side effects (symlinks, devices, fifos,
// sockets) is held by O_PATH and asked through /proc/self/fd, which names that very inode and not a path that
// a guest could redirect.
#pragma once

#include <sys/types.h>

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "backup/source/digest.h"
#include "backup/source/scanned_host.h"
#include "core/store/file_class.h"

namespace vs::backup {

struct InodeDetails {
  Sha256 content{};           // of a regular file
  std::string target;         // of a symlink
  std::string xattrs;         // encoded; "" none
  uint32_t flags = 0;         // FS_*_FL that a user may set and that we put back
  uint32_t project = 0;       // project id of quotas
  bool inconsistent = false;  // changed while it was read, every time we tried
  bool operator==(const InodeDetails&) const = default;
};

// Encoded attributes are sorted by name, so equal sets are equal bytes.
std::string encode_xattrs(std::vector<Xattr> xattrs);
std::vector<Xattr> decode_xattrs(std::string_view bytes);  // of anything: stops at what makes no sense

// `fd` may be O_PATH. Attributes that the filesystem does not have are none.
Expected<std::string> read_xattrs(int fd, const std::string& object);
// What is written is made equal, not added to what is there: a new file has what its directory or its mount
// hands down (a default ACL, flags, a project), and that is taken off. Labels of the host's security modules
// and what a filesystem shows of its own stay.
Result write_xattrs(int fd, std::string_view encoded, const std::string& object);
// `fd` readable, a regular file or directory; elsewhere nothing is read.
void read_flags(int fd, uint32_t& flags, uint32_t& project);
// An immutable inode takes no project any more. Project 0 that a user namespace may not give is no problem:
// whoever counts by it is outside.
Result write_project(int fd, uint32_t project, const std::string& object);
// Of the flags in `which`, those in `flags` are set and the others cleared. Before attributes: btrfs makes
// its attribute of compression anew when flags are set.
Result write_flags(int fd, uint32_t flags, uint32_t which, const std::string& object);
extern const uint32_t kKeptFlags;
// Those that keep names from coming and going, and the one that has each write wait for the disk: to be set
// when all else is done.
extern const uint32_t kLateFlags;

Expected<std::string> read_target(int path_fd, const std::string& object);

// The details of those inodes of a run that were put: 48 bytes each, in chunks that are made when they are
// needed; the rare rest lies aside. One thread writes; others may read when it has ended.
class DetailsTable {
 public:
  explicit DetailsTable(size_t inodes) : chunks_((inodes + kChunk - 1) / kChunk) {}
  void put(InodeNumber inode, InodeDetails details);
  bool known(InodeNumber inode) const {
    if (inode.value / kChunk >= chunks_.size()) return false;  // split off another one since (other_names.h)
    const auto& chunk = chunks_[inode.value / kChunk];
    return chunk && (*chunk)[inode.value % kChunk].known;
  }
  InodeDetails get(InodeNumber inode) const;  // empty if it is not known

 private:
  static constexpr uint32_t kNoAside = ~0u;
  struct Row {
    Sha256 content{};
    uint32_t flags = 0;
    uint32_t aside = kNoAside;
    bool known = false;
    bool inconsistent = false;
  };
  struct Aside {
    std::string target, xattrs;
    uint32_t project = 0;
  };
  // Guest by guest, inodes lie beside each other: a run that reads few of them fills few chunks.
  static constexpr size_t kChunk = 1024;
  std::vector<std::unique_ptr<std::array<Row, kChunk>>> chunks_;
  std::deque<Aside> aside_;
};

}  // namespace vs::backup
