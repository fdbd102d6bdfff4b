#include "core/tree/nodev_mount.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

namespace vs {

NodevMount::NodevMount(const std::string& top) : top_(top) {
  if (const char* off = std::getenv("VS_NO_PRIVATE_MOUNT"); off != nullptr && *off == '1') return;
  UniqueFd clone(
      static_cast<int>(::syscall(SYS_open_tree, AT_FDCWD, top.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
  if (!clone) return;
  struct mount_attr attributes {};
  attributes.attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME;
  attributes.attr_clr = MOUNT_ATTR__ATIME;
  if (::syscall(SYS_mount_setattr, clone.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) == 0)
    fd_ = std::move(clone);
}

UniqueFd NodevMount::open_dir(const std::string& path) const {
  if (!fd_ || !path.starts_with(top_)) return {};
  std::string below = path.substr(top_.size());
  while (below.starts_with('/')) below.erase(0, 1);
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  const char* name = below.empty() ? "." : below.c_str();
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, fd_.get(), name, &how, sizeof how)));
}

std::string path_of_fd(int fd) {
  char path[PATH_MAX];
  const ssize_t length = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path, sizeof path);
  return length < 0 ? std::string() : std::string(path, static_cast<size_t>(length));
}

}  // namespace vs
