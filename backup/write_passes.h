// The passes of `vbackup create` that write: they ask the targets what they want of the scanned host and turn
// that into blocks for the pipeline, in the order of the archives.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "backup/block_stream.h"
#include "backup/large_files.h"
#include "backup/source/other_names.h"
#include "core/typed_table.h"

namespace vs::backup {

// Called by the sink when everything of an archive was read, right before it is finished. If one throws, the
// archive gets no name and the run ends, for all targets.
struct BeforeFinish {
  std::function<void()> must_hold;
  std::function<void(GuestNumber guest)> was_read;
};

class WritePasses {
 public:
  // `targets` and `before_finish` outlive the pipeline.
  // `sample`: inodes whose bytes are read and compared though they seem unchanged. All but `host` and `gone`
  // is fixed for as long as this object lives. These two are run.host and run.gone; they change only here,
  // and only while nothing is under way in the pipeline: `host` gains inodes by split_names (other_names.h).
  WritePasses(const RunView& run, ScannedHost& host, TypedBits<InodeNumber>& gone,
              const std::unordered_set<InodeNumber>& sample, const std::vector<Target*>& targets,
              Pipeline& pipeline, const BeforeFinish& before_finish, RunContext& context);

  // What several guests share. When this returns all of it was stored, by whichever name led to it, and it is
  // known what of it is gone.
  void write_shared();
  // One guest, depth first. Its archive is finished by the sink, maybe after this returned.
  void write_guest(GuestNumber guest);

 private:
  Item item_of(Item::Kind kind, InodeNumber inode) const;
  void try_other_names(const std::unordered_map<InodeNumber, uint32_t>& wanted);
  bool hold(Item& item);
  void limit_held();
  bool will_read(const Item& item) const;
  std::vector<DirectoryWants> ask_targets(GuestNumber guest, DirNumber dir, const std::string& path);
  void plan_directory(GuestNumber guest, DirNumber dir, const std::string& path);
  void plan_child(GuestNumber guest, DirNumber dir, const std::string& path, size_t child,
                  const std::vector<DirectoryWants>& wants);
  void plan_item(Item item);

  const RunView& run_;
  ScannedHost& host_;
  TypedBits<InodeNumber>& gone_;
  const std::unordered_set<InodeNumber>& sample_;
  const std::vector<Target*>& targets_;
  Pipeline& pipeline_;
  RunContext& context_;
  const BeforeFinish& before_finish_;
  BlockStream blocks_;
  size_t held_ = 0;                    // inodes held open since the last drain() ...
  const size_t most_held_;             // ... and when it is time for one
  std::unique_ptr<OtherNames> names_;  // of the guest that is written, when they were needed
  LargeFiles large_files_;
};

}  // namespace vs::backup
