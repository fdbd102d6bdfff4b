#include "core/store/pool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <map>

#include "core/escape.h"
#include "core/store/store_place.h"

namespace vs {
namespace {

constexpr long kXfsMagic = 0x58465342;  // not in linux/magic.h of Debian 12

std::string path_of_top(const RootDir& root) {
  std::string path = top_of_mount(root).path;
  if (path.empty()) throw Error(problem_from_errno("find the mount point of", root.path()).message);
  return path;
}

std::string filesystem_name(long magic) {
  switch (magic) {
    case EXT4_SUPER_MAGIC:
      return "ext4";
    case BTRFS_SUPER_MAGIC:
      return "btrfs";
    case TMPFS_MAGIC:
      return "tmpfs";
    case OVERLAYFS_SUPER_MAGIC:
      return "overlay";
    case kXfsMagic:
      return "xfs";
    default:
      return fmt::format("{:#x}", magic);
  }
}

}  // namespace

std::vector<std::string> pool_tops(std::span<const Guest> guests) {
  std::map<uint64_t, std::string> tops;
  for (const auto& guest : guests)
    if (!tops.contains(guest.root.stat().mount_id))
      tops[guest.root.stat().mount_id] = path_of_top(guest.root);
  std::vector<std::string> paths;
  for (const auto& [_, top] : tops) paths.push_back(top);
  return paths;
}

Pool find_pool(std::span<const Guest> guests) {
  if (guests.empty())
    throw Error(
        "no vservers: none found below /vservers, /var/lib/machines or /var/lib/lxc; name trees with --tree "
        "NAME=DIR",
        Exit::usage);
  const auto& first = guests.front().root;
  Pool pool;
  pool.mount_id = first.stat().mount_id;
  pool.dev = first.stat().dev;
  if (pool_tops(guests).size() > 1) {
    std::string all;
    for (const auto& guest : guests)
      all += fmt::format("\n  {} ({}) on {}", guest.name, escaped(guest.root.path()),
                         escaped(path_of_top(guest.root)));
    throw Error(
        "the trees are on several filesystems, and nothing is shared between those; restrict this with "
        "--pool DIR, "
        "or take one after the other with run --each-pool:" +
            all,
        Exit::usage);
  }
  pool.top = path_of_top(first);
  struct statfs info;
  if (::fstatfs(first.fd(), &info) != 0) throw Error(problem_from_errno("statfs", first.path()).message);
  pool.filesystem = filesystem_name(info.f_type);
  pool.block_size = static_cast<uint32_t>(info.f_bsize);
  for (const auto& guest : guests) pool.one_device = pool.one_device && guest.root.stat().dev == pool.dev;
  return pool;
}

std::optional<NodevMount> look_through_private_mount(const Pool& pool, std::vector<Guest>& guests,
                                                     UniqueFd& store_parent,
                                                     const std::string& store_parent_path) {
  NodevMount mount(pool.top);
  if (!mount.available()) return std::nullopt;
  std::vector<UniqueFd> dirs;
  for (const auto& guest : guests) {
    dirs.push_back(mount.open_dir(path_of_fd(guest.root.fd())));
    if (!dirs.back()) return std::nullopt;
  }
  const UniqueFd parent(::open(store_parent_path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  UniqueFd seen = parent ? mount.open_dir(path_of_fd(parent.get())) : UniqueFd();
  if (!seen) return std::nullopt;
  store_parent = std::move(seen);
  for (size_t i = 0; i < guests.size(); ++i) guests[i].root.see_through(std::move(dirs[i]));
  return mount;
}

}  // namespace vs
