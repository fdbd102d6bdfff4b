// Logical volumes: which one a filesystem is on, and the commands that make and remove its snapshot.
//
// What is done is done by lvm(8) as a child: LVM2 has no library any more (liblvm2app is gone from its
// releases, D-Bus wants a daemon), and its metadata, locks, udev and the freezing of the filesystem are no
// business of a second implementation. It answers in JSON (--reportformat). What a volume is called is never
// taken from a name: the kernel tells the volume's uuid for the device that is mounted, lvm is asked for that
// uuid.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace vs::backup {

// As lvm prints them, with dashes.
struct LvmIds {
  std::string group, volume;
};

// Of device mapper's uuid of a volume that can be mounted, "LVM-" and 64 letters; nothing for other devices
// and for parts of a volume ("...-real").
std::optional<LvmIds> lvm_ids(std::string_view mapper_uuid);

struct LvmVolume {
  std::string group, name, uuid;
  uint64_t bytes = 0, extent_bytes = 0, group_free_bytes = 0;
  bool thin = false;
  int64_t minor = -1;       // of its device, -1 when it is not active
  std::string origin_uuid;  // of a snapshot

  std::string path() const { return group + "/" + name; }
  // Extents to hold what is overwritten while a snapshot is read: `percent` of the volume, or what the group
  // has free if that is less. Nothing when the group has not even a hundredth of the volume: such a snapshot
  // would not last.
  std::optional<uint64_t> reserve_extents(uint64_t percent) const;
};

// What `lvs` with the right columns printed.
Expected<std::vector<LvmVolume>> parse_lvs(const std::string& json);

// Volumes that fit a selection (lvmreport(7)).
Expected<std::vector<LvmVolume>> lvm_volumes(const std::string& selection);

// lvm WORDS..., in a process group of its own, so that a terminal's interrupt does not meet it between
// suspending a volume and resuming it. Its stdout; a Problem with the last line of its stderr when it does
// not end with 0, ENOENT when there is no lvm here.
Expected<std::string> run_lvm(const std::vector<std::string>& words);

}  // namespace vs::backup
