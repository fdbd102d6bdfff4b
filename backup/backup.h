// vbackup create, as a list of passes:
//
//   1 inventory   which trees                                      core/tree/inventory
//   2 targets     open, lock, sweep what a killed run left          archive_target, archive_set
//   3 scan        names and inodes of all trees                     scanned_host
//   4 decide      which inodes are known from earlier runs          inode_index
//   5 shared      what several guests share, once, into the pool    pipeline; after it every name can be a
//   link to a member 6 guests      one after the other, depth first                  pipeline; after each its
//   archive is complete and visible 7 learn       what was read is known the next time inode_index
//
// A run that is killed leaves finished archives, each whole, and parts that the next run sweeps. There is no
// more to recover: the pool archive comes before the guests that refer to it, a guest's archive before the
// next guest's, and the index only ever says what was true.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backup/archive/target.h"
#include "backup/pipeline.h"

namespace vs::backup {

struct CreateOptions {
  std::vector<std::string> excludes;
  std::string state;            // directory of the index; "" none is kept
  uint64_t verify_sample = 64;  // one in so many of what is believed is read again; 0 none
  std::string consistency = "live";
  bool cross_mounts = false;          // into disk filesystems that are mounted in a guest's tree
  std::vector<uint64_t> filesystems;  // see WalkOptions
  int64_t moment_ns =
      0;  // of the snapshot that the guests' roots are in; 0: what is read is what is there now
  // Throws if what was read is worth nothing any more, so that it gets no name. Before the pool archive and
  // before each guest's is finished.
  std::function<void()> must_hold;
  // All of this guest was read; its archive is finished when this returns, and abandoned with the whole run
  // if it throws. From the sink's thread.
  std::function<void(uint32_t guest)> was_read;
};

struct CreateResult {
  std::string stamp;
  uint64_t guests = 0, names = 0, inodes = 0, directories = 0, shared = 0, known = 0;
  PipelineCounts counts;
  uint64_t failed_targets = 0;
};

// Until a stamp taken now is later than this one; throws if that is in the future.
void wait_for_next_stamp(const std::string& last);

CreateResult create_backup(std::vector<Guest> guests, std::vector<std::unique_ptr<Target>>& targets,
                           const std::string& not_before, const CreateOptions& options, RunContext& context);

}  // namespace vs::backup
