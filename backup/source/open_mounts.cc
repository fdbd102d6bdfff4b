#include "backup/source/open_mounts.h"

#include <unistd.h>

#include <algorithm>

#include "core/tree/mount_table.h"
#include "core/tree/nodev_mount.h"

namespace vs::backup {

void see_through_private_mounts(std::vector<Guest>& guests) {
  for (auto& guest : guests) {
    UniqueFd up(::dup(guest.root.fd()));
    const std::string top = path_of_fd(guest.root.fd());
    if (top.empty()) continue;
    try {
      // The mount's own root is not asked for: a clone of the mount, seen from the guest's directory, is the
      // same.
      const NodevMount mount(top);
      if (!mount.available()) continue;
      if (UniqueFd seen = mount.open_dir(top); seen) guest.root.see_through(std::move(seen));
    } catch (const Error&) {
      // Read in two steps then.
    }
  }
}

TypedVector<GuestNumber, std::vector<std::string>> enter_mounts(std::vector<Guest>& guests) {
  TypedVector<GuestNumber, std::vector<std::string>> all(guests.size());
  const auto table = mount_table();
  for (GuestNumber g; g < all.next_number(); ++g) {
    RootDir& root = guests[g.value].root;
    const std::string top = path_of_fd(root.fd()) + "/";
    std::vector<uint64_t> ids;
    for (const auto& mount : table) {
      if (!mount.point.starts_with(top) || !is_disk_filesystem(mount.type)) continue;
      ids.push_back(mount.id);
      all[g].push_back(mount.point.substr(top.size()));
    }
    root.enter_mounts(ids);
    std::sort(all[g].begin(), all[g].end());
    all[g].erase(std::unique(all[g].begin(), all[g].end()), all[g].end());
  }
  return all;
}

}  // namespace vs::backup
