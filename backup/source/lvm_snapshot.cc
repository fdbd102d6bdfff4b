#include "backup/source/lvm_snapshot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <ctime>
#include <filesystem>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/size_text.h"
#include "core/tree/mount_table.h"
#include "core/tree/new_filesystem.h"

namespace vs::backup {
namespace {

constexpr const char* kTag = "vbackup";
constexpr const char* kLocks = "/run/vbackup";

// udev and its probers look at a new device just when it shall go; lvm itself tries for some seconds.
constexpr int kRemoveTries = 5;

Expected<LvmVolume> volume_of(const RootDir& tree) {
  const uint64_t dev = tree.stat().dev;
  const std::string shown = escaped(tree.path());
  auto uuid = read_whole(fmt::format("/sys/dev/block/{}:{}/dm/uuid", major(dev), minor(dev)), 4096);
  if (!uuid) return Problem{ENOTSUP, shown + " is on no logical volume"};
  while (!uuid->empty() && uuid->back() == '\n') uuid->pop_back();
  const auto ids = lvm_ids(*uuid);
  if (!ids) return Problem{ENOTSUP, shown + " is on a device of device mapper that is no logical volume"};
  auto volumes = lvm_volumes(fmt::format("vg_uuid=\"{}\" && lv_uuid=\"{}\"", ids->group, ids->volume));
  if (!volumes) return volumes.error();
  if (volumes->size() != 1)
    return Problem{ENODEV, fmt::format("lvm knows {} volumes with the uuid {}, on which {} is",
                                       volumes->size(), ids->volume, shown)};
  return volumes->front();
}

bool mountable(const std::string& type) {
  return type == "ext4" || type == "ext3" || type == "ext2" || type == "xfs";
}

// Not waited for: who holds it is another run that reads a snapshot of this volume.
UniqueFd lock_of(const std::string& volume_uuid) {
  const auto dir = open_private_dir(kLocks, true);
  if (!dir) return {};
  UniqueFd lock(::openat(dir->get(), volume_uuid.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (lock && ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) lock.reset();
  return lock;
}

Result remove_volume(const std::string& path) {
  for (int tries = 1;; ++tries) {
    const auto removed = run_lvm({"lvremove", "--yes", "--quiet", path});
    if (removed) return Ok{};
    if (tries == kRemoveTries) return removed.error();
    const timespec pause = {0, 200'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

// Ours, of one volume ("" of all).
Expected<std::vector<LvmVolume>> left_over(const std::string& origin_uuid) {
  return lvm_volumes(fmt::format("lv_tags=\"{}\"", kTag) +
                     (origin_uuid.empty() ? "" : fmt::format(" && origin_uuid=\"{}\"", origin_uuid)));
}

bool any_logical_volume() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/block", error))
    if (const auto uuid = read_whole(entry.path() / "dm/uuid", 4096); uuid && uuid->starts_with("LVM-"))
      return true;
  return false;
}

}  // namespace

Expected<std::shared_ptr<LvmSnapshot>> LvmSnapshot::make(const RootDir& tree, uint64_t reserve_percent) {
  const std::string type = filesystem_type(tree.stat().mount_id);
  if (!mountable(type))
    return Problem{ENOTSUP, fmt::format("{} is on a filesystem of type {}, of which there are no snapshots",
                                        escaped(tree.path()), type)};
  const auto volume = volume_of(tree);
  if (!volume) return volume.error();
  std::shared_ptr<LvmSnapshot> made(new LvmSnapshot());
  made->lock_ = lock_of(volume->uuid);
  if (!made->lock_) return Problem{EBUSY, "another run reads a snapshot of " + volume->path()};
  if (auto created = made->create(*volume, reserve_percent); !created) return created.error();
  if (auto mounted = made->mount(type); !mounted) return mounted.error();
  return made;
}

Result LvmSnapshot::create(const LvmVolume& volume, uint64_t reserve_percent) {
  volume_ = volume;
  const std::string name = "vbackup-" + volume.uuid;
  std::vector<std::string> words{"lvcreate", "--yes",    "--quiet", "--snapshot",          "--name",
                                 name,       "--addtag", kTag,      "--setactivationskip", "n"};
  if (!volume.thin) {
    const auto extents = volume.reserve_extents(reserve_percent);
    if (!extents)
      return Problem{
          ENOSPC,
          fmt::format("the volume group {} has {} free, too little for a snapshot of {} ({})", volume.group,
                      size_text(volume.group_free_bytes), volume.path(), size_text(volume.bytes))};
    words.insert(words.end(), {"--extents", std::to_string(*extents)});
  }
  words.push_back(volume.path());
  path_ = volume.group + "/" + name;  // from here on something may have to be removed
  if (const auto created = run_lvm(words); !created) {
    // What it did not make needs no removing, and the message about that would hide this one.
    if (const auto there = left_over(volume.uuid); there && there->empty()) path_.clear();
    return Problem{created.error().code,
                   fmt::format("snapshot of {}: {}", volume.path(), created.error().message)};
  }
  return Ok{};
}

Result LvmSnapshot::mount(const std::string& type) {
  const auto made = left_over(volume_.uuid);
  if (!made) return made.error();
  if (made->size() != 1 || made->front().minor < 0)
    return Problem{ENODEV, "the snapshot of " + volume_.path() + " has no device"};
  // The kernel's own name of it; those in /dev/mapper are made by udev, later.
  device_path_ = fmt::format("/dev/dm-{}", made->front().minor);
  device_.reset(::open(device_path_.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
  if (!device_) return problem_from_errno("open the snapshot of " + volume_.path() + ",", device_path_);
  MountParameters parameters{{"source", device_path_.c_str()}, {"ro", nullptr}};
  if (type == "xfs")
    parameters.emplace_back("nouuid", nullptr);  // it has the uuid of its origin, which is mounted
  else
    parameters.emplace_back(
        "errors", "remount-ro");  // a full snapshot is an I/O error, for which the filesystem may say "panic"
  auto mounted = new_filesystem(
      type.c_str(), parameters,
      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME);
  if (!mounted)
    return Problem{mounted.error().code,
                   fmt::format("mount the snapshot of {}: {}", volume_.path(), mounted.error().message)};
  mount_.reset(::openat(mounted->get(), ".",
                        O_RDONLY | O_DIRECTORY | O_CLOEXEC));  // open_by_handle_at(2) takes no O_PATH
  if (!mount_) return problem_from_errno("open the snapshot of", volume_.path());
  return Ok{};
}

LvmSnapshot::~LvmSnapshot() {
  mount_.reset();
  device_.reset();
  if (path_.empty()) return;
  // One that cannot be removed stays with its tag: the next run tries again, and tells.
  [[maybe_unused]] const Result removed = remove_volume(path_);
}

Expected<UniqueFd> LvmSnapshot::open(const RootDir& tree) const {
  struct {
    file_handle header;
    std::array<unsigned char, MAX_HANDLE_SZ> bytes;
  } handle{};
  handle.header.handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(tree.fd(), "", &handle.header, &mount_id, AT_EMPTY_PATH) != 0)
    return problem_from_errno("look for", tree.path());
  UniqueFd dir(::open_by_handle_at(mount_.get(), &handle.header, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return problem_from_errno("open in the snapshot of " + volume_.path(), tree.path());
  const auto found = stat_fd(dir.get(), tree.path());
  if (!found) return found.error();
  if (found->ino != tree.stat().ino || found->btime_ns != tree.stat().btime_ns)
    return Problem{ESTALE,
                   escaped(tree.path()) + " is another directory in the snapshot of " + volume_.path()};
  return dir;
}

Result LvmSnapshot::holds() const {
  constexpr size_t kBlock = 4096;  // the largest logical block there is
  alignas(kBlock) char block[kBlock];
  if (::pread(device_.get(), block, sizeof block, 0) == static_cast<ssize_t>(sizeof block)) return Ok{};
  const int error = errno;
  return Problem{
      error,
      fmt::format("the snapshot of {} ran full: more was overwritten in the volume than its reserve holds "
                  "(--snapshot-reserve, and what the volume group has free), or it cannot be read; "
                  "nothing that was read since is kept ({})",
                  volume_.path(), problem_from(error, "read", device_path_).message)};
}

std::vector<std::string> LvmSnapshot::sweep() {
  std::vector<std::string> told;
  if (!any_logical_volume()) return told;
  const auto volumes = left_over("");
  if (!volumes)
    return volumes.error().code == ENOENT ? told : std::vector<std::string>{volumes.error().message};
  for (const auto& volume : *volumes) {
    const UniqueFd lock = lock_of(volume.origin_uuid);
    if (!lock) continue;  // of a run that goes on
    const auto removed = remove_volume(volume.path());
    told.push_back(removed ? "removed the snapshot " + volume.path() + " that a killed run left"
                           : "the snapshot " + volume.path() +
                                 " that a killed run left cannot be removed: " + removed.error().message);
  }
  return told;
}

}  // namespace vs::backup
