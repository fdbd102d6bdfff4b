#include "backup/source/snapshot_tree.h"

#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cerrno>
#include <map>

#include "backup/source/lvm_snapshot.h"
#include "backup/source/scanned_host.h"
#include "core/tree/filesystem_id.h"

namespace vs::backup {
namespace {

// One guest's part of the snapshot of a volume that has several.
class TreeInVolume : public SnapshotTree {
 public:
  TreeInVolume(std::shared_ptr<LvmSnapshot> volume, const RootDir& tree)
      : volume_(std::move(volume)), path_(tree.path()), filesystem_(filesystem_id(tree.fd())) {}
  Result find(const RootDir& tree) {
    auto dir = volume_->open(tree);
    if (!dir) return dir.error();
    dir_ = std::move(*dir);
    return Ok{};
  }
  RootDir open() const override { return RootDir(UniqueFd(::dup(dir_.get())), path_, true); }
  uint64_t filesystem() const override { return filesystem_; }
  Result holds() const override { return volume_->holds(); }

 private:
  std::shared_ptr<LvmSnapshot> volume_;  // before dir_: its filesystem is let go of first
  std::string path_;
  uint64_t filesystem_;
  UniqueFd dir_;
};

bool on_btrfs(const Guest& guest) {
  struct statfs fs;
  return ::fstatfs(guest.root.fd(), &fs) == 0 && static_cast<uint64_t>(fs.f_type) == BTRFS_SUPER_MAGIC;
}

}  // namespace

Expected<std::vector<std::unique_ptr<SnapshotTree>>> take_snapshots(const std::vector<Guest>& guests,
                                                                    const SnapshotOptions& options) {
  std::vector<std::unique_ptr<SnapshotTree>> trees;
  std::map<uint64_t, std::shared_ptr<LvmSnapshot>> volumes;  // by device
  const auto refuse = [&](Problem problem) {
    if (problem.code == ENOTSUP && !trees.empty()) problem.code = 0;
    return problem;
  };
  for (const auto& guest : guests) {
    if (on_btrfs(guest)) {
      auto made = make_btrfs_snapshot(guest, options);
      if (!made) return refuse(made.error());
      trees.push_back(std::move(*made));
      continue;
    }
    auto& volume = volumes[guest.root.stat().dev];
    if (!volume) {
      auto made = LvmSnapshot::make(guest.root, options.reserve_percent);
      if (!made) return refuse(made.error());
      volume = std::move(*made);
    }
    auto tree = std::make_unique<TreeInVolume>(volume, guest.root);
    if (const auto found = tree->find(guest.root); !found) return refuse(found.error());
    trees.push_back(std::move(tree));
  }
  return trees;
}

std::vector<std::string> sweep_snapshots() {
  return LvmSnapshot::sweep();
}

}  // namespace vs::backup
