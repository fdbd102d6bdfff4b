#include <fcntl.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "backup/source/scanned_host.h"
#include "backup/source/snapshot_tree.h"
#include "core/escape.h"
#include "core/tree/filesystem_id.h"
#include "core/tree/nodev_mount.h"

namespace vs::backup {
namespace {

constexpr uint64_t kSubvolumeRoot =
    256;  // BTRFS_FIRST_FREE_OBJECTID: the inode number of each subvolume's root

bool destroy(int parent, const std::string& name) {
  btrfs_ioctl_vol_args arguments{};
  if (name.size() >= sizeof arguments.name) return false;
  std::memcpy(arguments.name, name.data(), name.size());
  return ::ioctl(parent, BTRFS_IOC_SNAP_DESTROY, &arguments) == 0;
}

// Whether a subvolume has others below it. What cannot be asked (a kernel before 4.18) may have.
bool has_subvolumes(int root) {
  btrfs_ioctl_get_subvol_rootref_args children{};
  return ::ioctl(root, BTRFS_IOC_GET_SUBVOL_ROOTREF, &children) != 0 || children.num_items != 0;
}

struct BtrfsSnapshot : SnapshotTree {
  UniqueFd parent;
  std::string parent_path, name;
  uint64_t origin = 0;

  ~BtrfsSnapshot() override {
    if (!name.empty() && parent) destroy(parent.get(), name);
  }
  RootDir open() const override { return RootDir(parent_path + "/" + name); }
  uint64_t filesystem() const override { return origin; }
};

}  // namespace

Expected<std::unique_ptr<SnapshotTree>> make_btrfs_snapshot(const Guest& guest,
                                                            const SnapshotOptions& options) {
  if (guest.root.stat().ino != kSubvolumeRoot)
    return Problem{ENOTSUP,
                   escaped(guest.root.path()) + " is no subvolume, so it can have no snapshot of its own"};
  if (options.subvolumes && has_subvolumes(guest.root.fd()))
    return Problem{ENOTSUP, escaped(guest.root.path()) +
                                " has subvolumes inside, which a snapshot of it does not hold "
                                "(--no-subvolumes leaves them out)"};
  auto made = std::make_unique<BtrfsSnapshot>();
  const std::string path = path_of_fd(guest.root.fd());
  made->parent_path = std::string(split_path(path).first);
  made->name = ".vbackup-snapshot-" + guest.name;
  made->origin = filesystem_id(guest.root.fd());
  made->parent.reset(::open(made->parent_path.empty() ? "/" : made->parent_path.c_str(),
                            O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!made->parent) return problem_from_errno("open", made->parent_path);
  destroy(made->parent.get(), made->name);  // of a killed run
  btrfs_ioctl_vol_args_v2 arguments{};
  arguments.fd = guest.root.fd();
  arguments.flags = BTRFS_SUBVOL_RDONLY;
  if (made->name.size() >= sizeof arguments.name)
    return Problem{ENAMETOOLONG, "the name of a snapshot of " + guest.name + " is too long"};
  std::memcpy(arguments.name, made->name.data(), made->name.size());
  if (::ioctl(made->parent.get(), BTRFS_IOC_SNAP_CREATE_V2, &arguments) != 0) {
    const Problem problem = problem_from_errno("make a snapshot of", guest.root.path());
    made->name.clear();
    return problem;
  }
  return std::unique_ptr<SnapshotTree>(std::move(made));
}

}  // namespace vs::backup
