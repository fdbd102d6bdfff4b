#include "backup/snapshot_tree.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>

#include <cerrno>
#include <cstring>

#include "backup/tree.h"
#include "core/escape.h"
#include "core/nodev_mount.h"

namespace vs::backup {
namespace {

constexpr uint64_t kSubvolumeRoot = 256;  // BTRFS_FIRST_FREE_OBJECTID: the inode number of each subvolume's root

bool destroy(int parent, const std::string& name) {
  btrfs_ioctl_vol_args arguments{};
  if (name.size() >= sizeof arguments.name) return false;
  std::memcpy(arguments.name, name.data(), name.size());
  return ::ioctl(parent, BTRFS_IOC_SNAP_DESTROY, &arguments) == 0;
}

}  // namespace

Expected<std::unique_ptr<SnapshotTree>> SnapshotTree::make(const Guest& guest) {
  struct statfs fs;
  if (::fstatfs(guest.root.fd(), &fs) != 0) return problem_from_errno("look at the filesystem of", guest.root.path());
  if (static_cast<uint64_t>(fs.f_type) != BTRFS_SUPER_MAGIC) return problem_from(ENOTSUP, "snapshot", guest.root.path());
  if (guest.root.stat().ino != kSubvolumeRoot) return Problem{ENOTSUP, escaped(guest.root.path()) + " is no subvolume, so it can have no snapshot of its own"};
  std::unique_ptr<SnapshotTree> made(new SnapshotTree());
  const std::string path = path_of_fd(guest.root.fd());
  made->parent_path_ = std::string(split_path(path).first);
  made->name_ = ".vbackup-snapshot-" + guest.name;
  made->filesystem_ = filesystem_id(guest.root.fd());
  made->parent_.reset(::open(made->parent_path_.empty() ? "/" : made->parent_path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!made->parent_) return problem_from_errno("open", made->parent_path_);
  destroy(made->parent_.get(), made->name_);  // of a killed run
  btrfs_ioctl_vol_args_v2 arguments{};
  arguments.fd = guest.root.fd();
  arguments.flags = BTRFS_SUBVOL_RDONLY;
  if (made->name_.size() >= sizeof arguments.name) return Problem{ENAMETOOLONG, "the name of a snapshot of " + guest.name + " is too long"};
  std::memcpy(arguments.name, made->name_.data(), made->name_.size());
  if (::ioctl(made->parent_.get(), BTRFS_IOC_SNAP_CREATE_V2, &arguments) != 0) {
    const Problem problem = problem_from_errno("make a snapshot of", guest.root.path());
    made->name_.clear();
    return problem;
  }
  return made;
}

SnapshotTree::~SnapshotTree() {
  if (!name_.empty() && parent_) destroy(parent_.get(), name_);
}

RootDir SnapshotTree::open() const { return RootDir(parent_path_ + "/" + name_); }

}  // namespace vs::backup
