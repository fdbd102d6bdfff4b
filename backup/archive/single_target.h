// The target "--single FILE": one archive that holds all of it, complete in itself.
//
// Objects that several guests share stand in it once, before the guests; their names are hard links to them,
// as in a set.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/archive/stored_objects.h"

namespace vs::backup {

class SingleTarget : public Target {
 public:
  // The file must not exist. `level`: of zstd.
  SingleTarget(const std::string& file, int level);
  ~SingleTarget() override;

  std::string describe() const override { return shown_; }
  void begin(const RunView& run) override;
  DirectoryWants::Want wants_shared(InodeNumber inode) override;
  void end_shared() override;
  void begin_guest(GuestNumber) override {}
  DirectoryWants plan_directory(GuestNumber guest, DirNumber dir, const std::string& path) override;
  // It begins empty: it has nothing.
  bool may_have(const Item&, const Inode&) const override { return false; }
  bool has(const Item&, const Inode&, const InodeDetails&) override { return false; }
  bool append(const Item& item, const Inode& inode, const InodeDetails& details, const Content& content,
              std::string& out) override;
  int level() const override { return level_; }
  void take(const std::vector<Item>& items, Encoded&& encoded) override;
  void end_guest(GuestNumber guest) override;
  void finish() override;
  void abandon() override { writer_.reset(); }
  Counts counts() const override { return stored_ ? stored_->counts : Counts{}; }

 private:
  std::string shown_, name_;
  int level_;
  UniqueFd dir_;

  // Fixed by begin().
  std::optional<RunView> run_;
  std::unique_ptr<PoolMembers> members_;

  // The sink's.
  std::optional<StoredObjects> stored_;
  std::unique_ptr<ArchiveWriter> writer_;
  Catalog catalog_;
};

}  // namespace vs::backup
