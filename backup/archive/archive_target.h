// The target "archive:DIR" (a set: pool series, full and incremental archives) and "--single FILE" (all in
// one archive).
//
// Objects that several guests share are members of the pool, once each, numbered; what stands in a guest's
// archive is a hard link to the member. A member is found again by everything that it is (type, bytes by
// digest, owner, mode, mtime, attributes), not by its inode number: a host that lost its index, or another
// host with the same programs, adds nothing twice. Two inodes of one run never become one member, so links
// are restored as they were.
//
// What changed in a guest is found by comparing with the catalogs of its chain, directory by directory; an
// incremental holds the directories whose list or attributes differ, with GNU.dumpdir, and the objects that
// differ. An inode with several names in one guest is written again with all of them if anything of the group
// differs: GNU tar unlinks before it extracts, so the other names would keep the old file.
#pragma once

#include <unordered_map>

#include "backup/archive/archive_set.h"
#include "backup/archive/archive_writer.h"
#include "backup/archive/target.h"

namespace vs::backup {

struct ArchiveOptions {
  int level = 3;
  bool full = false;  // begin a new chain
  uint64_t longest_chain = 30;
};

class ArchiveTarget : public Target {
 public:
  ArchiveTarget(const std::string& dir, ArchiveOptions options);
  // One archive of its own. The file must not exist.
  static std::unique_ptr<ArchiveTarget> single(const std::string& file, ArchiveOptions options);
  ~ArchiveTarget() override;

  std::string describe() const override { return shown_; }
  void begin(const ScannedHost& host, DetailsTable& details, const std::string& stamp,
             const std::string& consistency) override;
  DirectoryWants::Want wants_shared(uint32_t inode) override;
  void end_shared() override;
  void begin_guest(uint32_t guest) override;
  DirectoryWants plan_directory(uint32_t guest, uint32_t dir, const std::string& path) override;
  bool may_have(const Item& item, const Inode& inode) const override;
  bool has(const Item& item, const Inode& inode, const InodeDetails& details) override;
  bool append(const Item& item, const Inode& inode, const InodeDetails& details, const Content& content,
              std::string& out) override;
  int level() const override { return options_.level; }
  void take(const std::vector<Item>& items, Encoded&& encoded) override;
  void end_guest(uint32_t guest) override;
  void finish() override;
  void abandon() override;
  Counts counts() const override { return counts_; }
  // The last time stamp in the set, or of one guest in it: a run's must be later.
  std::string last_stamp(const std::string& guest = "") const;

 private:
  struct Job;
  ArchiveTarget() = default;
  uint64_t find_member(const Entry& entry, uint64_t ino);
  ArchiveWriter& writer_for(const Item& item);
  void record_names(uint32_t guest, Job& job);
  void compare_link_groups(uint32_t guest, Job& job);
  Entry named_entry(uint32_t inode, const std::string& name) const;
  CatalogHeader header(const std::string& kind) const;
  std::shared_ptr<Job> job(uint32_t guest) const;

  std::string shown_;
  ArchiveOptions options_;
  std::unique_ptr<ArchiveSet> set_;
  std::unique_ptr<HostLock> lock_;
  UniqueFd single_dir_;
  std::string single_name_;

  const ScannedHost* host_ = nullptr;
  DetailsTable* details_ = nullptr;
  std::string stamp_, consistency_;

  std::map<uint64_t, Entry> pool_;
  std::unordered_multimap<size_t, uint64_t> members_;  // hash of what it is -> number
  std::unordered_map<uint64_t, bool> claimed_;         // by an inode of this run
  uint64_t next_member_ = 1;
  uint32_t pool_number_ = 1;
  std::vector<uint64_t> member_;  // inode -> number
  std::vector<uint64_t> offset_;  // inode -> where it was placed in this run's archive of its guest
  mutable std::mutex mutex_;      // guards pool_ lookups and jobs_ between planner, workers and sink
  std::map<uint32_t, std::shared_ptr<Job>> jobs_;

  std::unique_ptr<ArchiveWriter> pool_writer_;  // also the only writer of --single
  Catalog pool_catalog_;                        // members that are new; of --single everything
  Counts counts_;
};

}  // namespace vs::backup
