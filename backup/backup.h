// vbackup create, as a list of passes (backup.cc shows them):
//
//   1 reach      how each tree is entered                        source/open_mounts
//   2 scan       names and inodes of all trees                   source/scanned_host
//   3 know       which inodes are known from earlier runs        known_inodes, source/inode_index
//   4 begin      each target looks at what it has                archive/target
//   5 shared     what several guests share, once                 write_passes, pipeline
//   6 guests     one after the other, depth first                write_passes, pipeline
//   7 finish     what the targets have left to do                archive/target
//   8 learn      what was read is known the next time            learner, source/inode_index
//
// Which guests there are (core/tree/inventory) and opening, locking and sweeping the targets comes before it
// (cli/cmd_create).
//
// A run that is killed leaves finished archives, each whole, and parts that the next run sweeps. There is no
// more to recover: the pool archive comes before the guests that refer to it, a guest's archive before the
// next guest's, and the index only ever says what was true.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/archive/target.h"
#include "backup/pipeline.h"
#include "backup/write_passes.h"
#include "core/typed_number.h"

namespace vs::backup {

struct CreateOptions {
  const Exclusion* exclusion = nullptr;  // nullptr: nothing is left out
  std::optional<std::string> state;      // directory of the index; without one nothing is remembered
  uint64_t verify_sample = 64;           // one in so many of what is believed is read again; 0 none
  std::string consistency = "live";
  bool cross_mounts = false;                       // into disk filesystems that are mounted in a guest's tree
  bool subvolumes = true;                          // into subvolumes of btrfs below a guest's root
  TypedVector<GuestNumber, uint64_t> filesystems;  // see WalkOptions
  int64_t moment_ns =
      0;  // of the snapshot that the guests' roots are in; 0: what is read is what is there now
  HostFiles host_files;  // of the guests, to be stored with them
  // must_hold() throws if what was read is worth nothing any more, so that it gets no name: called before the
  // pool archive and before each guest's is finished. was_read(guest): all of this guest was read; its
  // archive is finished when this returns, and abandoned with the whole run if it throws.
  BeforeFinish before_finish;
};

struct CreateResult {
  std::string stamp;
  uint64_t guests = 0, names = 0, inodes = 0, directories = 0, shared = 0, known = 0;
  uint64_t subvolumes_left_out = 0;
  PipelineCounts counts;
  // By number: something of this target failed. Each was named; the others are whole.
  std::vector<bool> failed_targets;
  bool all_targets() const {
    return std::find(failed_targets.begin(), failed_targets.end(), true) == failed_targets.end();
  }
};

// Until a stamp taken now is later than this one; throws if that is in the future.
void wait_for_next_stamp(const std::string& last);

CreateResult create_backup(std::vector<Guest> guests, std::vector<std::unique_ptr<Target>>& targets,
                           const std::string& not_before, const CreateOptions& options, RunContext& context);

}  // namespace vs::backup
