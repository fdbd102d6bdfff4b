#include "tests/support/temp_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/support/run.h"

namespace vs::test {
namespace {

void clear_immutable(int fd) {
  int flags = 0;
  if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0 || !(flags & (FS_IMMUTABLE_FL | FS_APPEND_FL))) return;
  flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
  ::ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

void remove_children(int dir);

void remove_at(int dir, const char* name) {
  struct stat stat;
  if (::fstatat(dir, name, &stat, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (S_ISDIR(stat.st_mode)) {
    const int fd = ::openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
      clear_immutable(fd);
      remove_children(fd);
      ::close(fd);
    }
    ::unlinkat(dir, name, AT_REMOVEDIR);
    return;
  }
  if (::unlinkat(dir, name, 0) == 0 || errno != EPERM || !S_ISREG(stat.st_mode)) return;
  const int fd = ::openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return;
  clear_immutable(fd);
  ::close(fd);
  ::unlinkat(dir, name, 0);
}

void remove_children(int dir) {
  DIR* list = ::fdopendir(::fcntl(dir, F_DUPFD_CLOEXEC, 0));
  if (list == nullptr) return;
  while (const dirent* entry = ::readdir(list))
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      remove_at(dir, entry->d_name);
  ::closedir(list);
}

}  // namespace

TempDir::TempDir() {
  const char* base = std::getenv("TMPDIR");
  path_ = std::string(base != nullptr ? base : "/tmp") + "/vunify-test.XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp " + path_);
  ::chmod(path_.c_str(), 0755);
  path_ = std::filesystem::canonical(path_).string();
}
TempDir::~TempDir() {
  remove_tree(path_);
}

void remove_tree(const std::string& path) {
  remove_at(AT_FDCWD, path.c_str());
}

void empty_tree(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  remove_children(fd);
  ::close(fd);
}

std::optional<Obstacle> LoopFilesystem::impossible(const std::string& type) {
  static std::map<std::string, std::optional<Obstacle>> known;
  if (const auto it = known.find(type); it != known.end()) return it->second;
  auto& why = known[type];
  if (::geteuid() != 0) return why = Obstacle{Skip::kRoot, "mounts a loop filesystem"};
  if ((why = without_program("mkfs." + type, type == "ext4" ? "e2fsprogs" : type + "progs"))) return why;
  try {
    LoopFilesystem(type, 0);
  } catch (const std::exception& error) {
    why = Obstacle{Skip::kKernel, fmt::format("mounts no {} loop filesystem: {}", type, error.what())};
  }
  return why;
}

LoopFilesystem::LoopFilesystem(const std::string& type, uint64_t mebibytes, const std::string& mkfs_options,
                               const std::string& mount_options)
    : type_(type), mount_point_(dir_ / "pool") {
  // The least mkfs accepts: xfs 300 MiB, btrfs 109 MiB. The image is sparse.
  const uint64_t least = type == "xfs" ? 320 : type == "btrfs" ? 256 : 32;
  const std::string image = dir_ / "image";
  std::ofstream(image).close();
  std::filesystem::resize_file(image, std::max(mebibytes, least) << 20);
  // -m 0: a full disk is full for root too.
  const std::string make =
      type == "ext4" ? "mkfs.ext4 -q -F -m 0 -E lazy_itable_init=1 " : fmt::format("mkfs.{} -q -f ", type);
  must_run({"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; " + make + mkfs_options + " \"$1\"", "sh", image});
  std::filesystem::create_directory(mount_point_);
  must_run({"mount", "-o", "loop" + (mount_options.empty() ? "" : "," + mount_options), image, mount_point_});
  ::chmod(mount_point_.c_str(), 0755);
}

LoopFilesystem::~LoopFilesystem() {
  for (int tries = 0; ::umount2(mount_point_.c_str(), 0) != 0 && errno == EBUSY && tries < 50; ++tries)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  ::umount2(mount_point_.c_str(), MNT_DETACH);
}

void LoopFilesystem::remount(const std::string& options) {
  must_run({"mount", "-o", "remount," + options, mount_point_});
}

bool is_immutable(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  int flags = 0;
  const bool known = fd >= 0 && ::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
  if (fd >= 0) ::close(fd);
  return known && (flags & FS_IMMUTABLE_FL);
}

void set_immutable(const std::string& path, bool on) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  int flags = 0;
  if (fd >= 0 && ::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0) {
    flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
    ::ioctl(fd, FS_IOC_SETFLAGS, &flags);
  }
  if (fd >= 0) ::close(fd);
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void write_file(const std::string& path, const std::string& content) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << content;
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

}  // namespace vs::test
