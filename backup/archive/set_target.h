// The target "archive:DIR": a set with a pool series, full and incremental archives.
//
// What stands in a guest's archive for an object that several guests share is a hard link to a member of the
// pool (pool_members.h); an incremental holds what changed (guest_changes.h).
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backup/archive/archive_set.h"
#include "backup/archive/stored_objects.h"

namespace vs::backup {

struct ArchiveOptions {
  int level = 3;
  bool full = false;  // begin a new chain
  uint64_t longest_chain = 30;
  bool init = false;  // a directory that is no set becomes one
};

class SetTarget : public Target {
 public:
  // Opens and locks the set and removes what killed runs left.
  SetTarget(const std::string& dir, ArchiveOptions options);
  ~SetTarget() override;

  std::string describe() const override { return shown_; }
  void begin(const RunView& run) override;
  DirectoryWants::Want wants_shared(InodeNumber inode) override;
  void end_shared() override;
  void begin_guest(GuestNumber guest) override;
  DirectoryWants plan_directory(GuestNumber guest, DirNumber dir, const std::string& path) override;
  bool may_have(const Item& item, const Inode& inode) const override;
  bool has(const Item& item, const Inode& inode, const InodeDetails& details) override;
  bool append(const Item& item, const Inode& inode, const InodeDetails& details, const Content& content,
              std::string& out) override;
  int level() const override { return options_.level; }
  void take(const std::vector<Item>& items, Encoded&& encoded) override;
  void end_guest(GuestNumber guest) override;
  void finish() override {}
  void abandon() override;
  Counts counts() const override { return stored_ ? stored_->counts : Counts{}; }
  // The last time stamp in the set, or of one guest in it: a run's must be later.
  std::string last_stamp() const;
  std::string last_stamp_of(const std::string& guest) const;

 private:
  struct GuestArchive;
  std::shared_ptr<GuestArchive> guest_archive(GuestNumber guest) const;
  ArchiveWriter& pool_writer();

  std::string shown_;
  ArchiveOptions options_;
  ArchiveSet set_;
  HostLock lock_;
  bool lost_ = false;  // vbackup.set was

  // Fixed by begin().
  std::optional<RunView> run_;
  std::unique_ptr<PoolMembers> members_;

  // The sink's.
  std::optional<StoredObjects> stored_;
  std::unique_ptr<ArchiveWriter> pool_writer_;
  Catalog pool_catalog_;  // members that are new

  mutable std::mutex mutex_;  // guards guests_: the planner is ahead of the sink
  std::map<GuestNumber, std::shared_ptr<GuestArchive>> guests_;
};

}  // namespace vs::backup
