// A snapshot of one logical volume, mounted where only this process sees it.
//
// `lvcreate --snapshot` freezes the filesystem for the moment in which it makes one: all that was written is
// in it, and its journal has next to nothing to replay. What there is (xfs leaves its log dirty on purpose,
// for files that were open and had no name any more) is replayed when it is mounted, into the snapshot, which
// is why it is a writable one; "norecovery" or "noload" would read a filesystem that never was. It is mounted
// read-only, nodev, nosuid, noexec, by fsopen(2), attached nowhere: no mount is left when we are killed.
//
// What is overwritten in the volume meanwhile is kept in a reserve. When that is full the snapshot is invalid
// and every read of it fails; bytes already in memory are still right. holds() looks at the device, past all
// caches, and is asked before anything that was read from it gets a name. A thin volume needs no reserve.
//
// Removed when the object goes. What a killed run left has the tag "vbackup" and nobody holds its lock
// (/run/vbackup/LV-UUID, flock): the next run removes it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backup/source/lvm_volume.h"
#include "core/tree/root_dir.h"

namespace vs::backup {

class LvmSnapshot {
 public:
  // Of the volume that this open directory's filesystem is on. ENOTSUP: it is on none, or of a type of which
  // a snapshot cannot be mounted beside its origin. ENOSPC: no room in the volume group.
  static Expected<std::shared_ptr<LvmSnapshot>> make(const RootDir& tree, uint64_t reserve_percent);
  ~LvmSnapshot();
  LvmSnapshot(const LvmSnapshot&) = delete;

  // The same directory, by its inode, in the snapshot.
  Expected<UniqueFd> open(const RootDir& tree) const;
  Result holds() const;

  static std::vector<std::string> sweep();  // lines to be told; "" none

 private:
  LvmSnapshot() = default;
  Result create(const LvmVolume& volume, uint64_t reserve_percent);
  Result mount(const std::string& type);

  UniqueFd lock_;  // held as long as there may be a snapshot
  LvmVolume volume_;
  std::string path_;  // "group/name" of the snapshot; "" when there is none
  UniqueFd device_;   // of the snapshot, O_DIRECT
  std::string device_path_;
  UniqueFd mount_;
};

}  // namespace vs::backup
