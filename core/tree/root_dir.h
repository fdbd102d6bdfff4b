// A directory whose inside is not trusted, and the only way to go into it.
//
// Everything below the root is reached with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
// RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV) from one descriptor, so whatever a guest renames, links or mounts
// meanwhile, nothing outside the tree (nor on another mount) is opened. Where the kernel has no openat2 the
// path is walked component by component with O_NOFOLLOW and each step's mount is compared; VS_NO_OPENAT2=1
// forces that way (the tests run both).
//
// Paths are relative to the root, any bytes, of any length (longer than PATH_MAX is walked in pieces),
// "" is the root itself. Thread safe after construction.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/unique_fd.h"

namespace vs {

// What statx tells and we use; times in ns since the epoch (file_time.h), device as in st_dev.
struct FileStat {
  uint64_t dev = 0;
  uint64_t ino = 0;
  uint64_t mount_id = 0;
  uint64_t size = 0;    // bytes
  uint64_t blocks = 0;  // of 512 bytes
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  int64_t btime_ns = 0;     // 0 where the filesystem has none
  uint64_t attributes = 0;  // STATX_ATTR_*
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  uint64_t rdev = 0;  // of a device node, as in st_rdev
  bool operator==(const FileStat&) const = default;
};

// statx of an open descriptor (O_PATH allowed).
Expected<FileStat> stat_fd(int fd, const std::string& object);
// statx of `name` in `dir`, never following a symlink. `object` is only for the message.
Expected<FileStat> stat_at(int dir, const char* name, const std::string& object);

class RootDir {
 public:
  // Opens a host path that must be a directory and not a symlink itself. Symlinks in the administrator's
  // part of the path are followed. Throws Error (Exit::usage) naming the path.
  explicit RootDir(const std::string& host_path);
  // A directory that is open already (not O_PATH), on a mount in which devices cannot be opened: `nodev` is
  // the caller's word for it. `shown` stands for it in messages.
  RootDir(UniqueFd dir, const std::string& shown, bool nodev);

  // The same directory seen through a NodevMount (see there): regular files are then opened in one step.
  // `fd` is the directory in that view; throws Error if it is not the same directory.
  void see_through(UniqueFd fd);

  // Lets paths lead into these mounts too (FileStat::mount_id), by which the administrator put more into the
  // tree. What is on any other stays refused with EXDEV, before it is opened for reading. Not together with
  // see_through().
  void enter_mounts(std::vector<uint64_t> mounts) { entered_ = std::move(mounts); }
  bool enters(uint64_t mount_id) const;

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }  // as given: for messages only, never resolved again
  const FileStat& stat() const { return stat_; }

  // `flags` as for open(2); O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY are added.
  Expected<UniqueFd> open(std::string_view path, int flags) const;
  // O_PATH | O_DIRECTORY: a place to work in.
  Expected<UniqueFd> open_dir(std::string_view path) const;
  // A regular file for reading, without ever opening a device swapped in this moment: O_PATH first, fstat,
  // then the very inode again through /proc/self/fd; or in one step where the mount refuses devices.
  // O_NOATIME where allowed. errno EINVAL in the Problem when it is not a regular file.
  Expected<UniqueFd> open_regular(std::string_view path, FileStat* stat = nullptr) const;
  // As above but symlinks are resolved as the guest would see them (RESOLVE_IN_ROOT); for finding out where a
  // path that a package database names really is, and for nothing that is written to.
  Expected<UniqueFd> open_in_root(std::string_view path, int flags) const;

  std::string host_path(std::string_view path) const;  // for messages

 private:
  Expected<UniqueFd> open_entered(int dir, std::string_view path, int flags) const;
  UniqueFd fd_;
  std::string path_;
  FileStat stat_;
  bool nodev_ = false;
  std::vector<uint64_t> entered_;
};

// The same inode again, for reading, through /proc/self/fd (fd may be O_PATH).
Expected<UniqueFd> reopen_for_reading(int fd, const std::string& object);

// The directory above an open one ("/" is above itself), for finding out where the administrator's own path
// lies. A Problem names the directory that was left: what cannot be seen must not be taken for the top.
Expected<UniqueFd> open_above(int dir);

// Splits "a/b/c" into "a/b" and "c"; the directory is "" for a name without a slash.
std::pair<std::string_view, std::string_view> split_path(std::string_view path);
std::string join_path(std::string_view dir, std::string_view name);
// "a", "b" and "c" of "/a//b/./c/".
std::vector<std::string> path_parts(std::string_view path);

}  // namespace vs
