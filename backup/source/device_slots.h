// Which device of a walk is which slot (Inode::slot). Slots are given out as devices are met: where a tree or
// a mount begins, at the root of a subvolume of btrfs, and for files of a layer of overlayfs.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

namespace vs::backup {

// Two bytes an inode say which. A guest can make subvolumes without end.
inline constexpr size_t kMostFilesystems = 65'000;

// Thread safe.
class DeviceSlots {
 public:
  // Both by slot; they outlive it, and belong to it while it lives.
  DeviceSlots(std::vector<uint64_t>& devices, std::vector<uint64_t>& filesystems)
      : devices_(devices), filesystems_(filesystems) {}

  // `id` is asked for a device that is new: what the filesystem is known by in other runs. Nothing where
  // there are too many.
  std::optional<uint16_t> slot_of(uint64_t dev, const std::function<uint64_t()>& id) {
    {
      const std::shared_lock lock(mutex_);
      if (const auto it = slots_.find(dev); it != slots_.end()) return it->second;
    }
    const uint64_t filesystem = id();
    const std::unique_lock lock(mutex_);
    if (const auto it = slots_.find(dev); it != slots_.end()) return it->second;
    if (devices_.size() == kMostFilesystems) return std::nullopt;
    const auto slot = static_cast<uint16_t>(devices_.size());
    devices_.push_back(dev);
    filesystems_.push_back(filesystem);
    slots_.emplace(dev, slot);
    return slot;
  }

 private:
  std::vector<uint64_t>& devices_;
  std::vector<uint64_t>& filesystems_;
  std::shared_mutex mutex_;
  std::unordered_map<uint64_t, uint16_t> slots_;
};

}  // namespace vs::backup
