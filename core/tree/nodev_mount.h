// A private, detached view of a mounted filesystem in which a device can not be opened and nothing be run.
//
// open_tree(2) clones the mount, mount_setattr(2) adds nodev, nosuid, noexec and noatime to the clone only.
// It is attached nowhere, so no process but this one can reach it, and mounts on top of the original are not
// in it. Looking into hostile trees through it makes the O_PATH detour unnecessary that otherwise keeps a
// file swapped for a device from being opened: measured, a third of the time of opening a small file. Names
// are linked and renamed through it as through the original, but not between the two.
#pragma once

#include <string>

#include "core/unique_fd.h"

namespace vs {

class NodevMount {
 public:
  // The view of the mount whose root is `top`. Needs CAP_SYS_ADMIN and Linux 5.12; without, available() is
  // false. VS_NO_PRIVATE_MOUNT=1 makes it so (the tests run both ways).
  explicit NodevMount(const std::string& top);
  bool available() const { return static_cast<bool>(fd_); }
  // `path`, which must be `top` or below it, in this view. Invalid if it cannot be opened without following a
  // symlink.
  UniqueFd open_dir(const std::string& path) const;

 private:
  std::string top_;
  UniqueFd fd_;
};

// The host path of an open directory, without symlinks.
std::string path_of_fd(int fd);

}  // namespace vs
