#include "backup/mount/node_attributes.h"

#include "core/tree/file_time.h"

namespace vs::backup {
namespace {

// As ext4 shows a directory.
constexpr off_t kDirectorySize = 4096;
constexpr uint64_t kBlock = 512;

struct ::stat plain(uint64_t number, mode_t mode, uint64_t links, const timespec& time) {
  struct ::stat stat {};
  stat.st_ino = number;
  stat.st_mode = mode;
  stat.st_nlink = links;
  stat.st_blksize = kDirectorySize;
  stat.st_atim = stat.st_mtim = stat.st_ctim = time;
  return stat;
}

}  // namespace

mode_t type_bits(char letter) {
  switch (letter) {
    case 'd':
      return S_IFDIR;
    case 'l':
      return S_IFLNK;
    case 'p':
      return S_IFIFO;
    case 's':
      return S_IFSOCK;
    case 'c':
      return S_IFCHR;
    case 'b':
      return S_IFBLK;
    default:
      return S_IFREG;
  }
}

struct ::stat attributes_of(const Entry& entry, uint64_t number, uint64_t links) {
  struct ::stat stat =
      plain(number, type_bits(entry.type) | (entry.mode & 07777), links, timespec_of(entry.mtime_ns));
  stat.st_uid = entry.uid;
  stat.st_gid = entry.gid;
  stat.st_rdev = entry.rdev;
  if (entry.type == 'd') stat.st_size = kDirectorySize;
  if (entry.type == 'l') stat.st_size = static_cast<off_t>(entry.target.size());
  if (entry.type == 'f') stat.st_size = static_cast<off_t>(entry.size);
  // Where the holes are is known when a file was opened; SEEK_HOLE tells.
  stat.st_blocks = static_cast<blkcnt_t>((static_cast<uint64_t>(stat.st_size) + kBlock - 1) / kBlock);
  return stat;
}

struct ::stat directory_attributes(uint64_t number, uint64_t directories, const timespec& time) {
  struct ::stat stat = plain(number, S_IFDIR | 0755, directories + 2, time);
  stat.st_size = kDirectorySize;
  return stat;
}

struct ::stat link_attributes(uint64_t number, const std::string& target, const timespec& time) {
  struct ::stat stat = plain(number, S_IFLNK | 0777, 1, time);
  stat.st_size = static_cast<off_t>(target.size());
  return stat;
}

timespec timespec_of_now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now;
}

}  // namespace vs::backup
