// What earlier runs learned of inodes, by filesystem and inode number. It lets a run skip the reading of
// files that an earlier one has read.
//
// An entry is believed when filesystem, inode number, birth time, size, mtime and ctime are what they were. A
// guest can set every time of a file but ctime, and every change that begins after we looked moves ctime
// (settle_writes.h says why, and what is done for that); so equal ctime means unchanged, but for a change
// within the same tick of the clock as the moment we looked. So what had a ctime that was not older than
// Learned::doubt_ns when it was read is not believed the next time.
//
// Sealed masters are believed when all but ctime and the link count are equal, because each run of vunify
// that links moves these two for every guest's sake. Why that is safe: an inode that is immutable then and
// now had its bytes changed only by somebody who may clear the flag. Guests may not (SECURITY.md demands it);
// vunify does for the moments in which it links, holds a lease against writers meanwhile, and checks the
// digest if anybody tried. A unify run which only linked has therefore no file read again when its masters
// are known: a guest's name becomes one more hard-link entry to a pool member. Masters that the run made are
// new inodes, no old read speaks for them, and they are read, once.
//
// What argument there is left to doubt (an administrator's own chattr -i, a bit that rotted), a sample
// answers: one in `--verify-sample` of what would be believed is read all the same each run, and a difference
// is an alarm.
//
// The index holds no knowledge about targets: which of them has which content is in their own catalogs.
// Losing it costs time, nothing else; so a damaged one is told, set aside and begun anew, when it is opened
// and when it is written to. What it says of a file goes into an archive unread, so it matters that
// an entry in which a bit rotted is none (core/durable/lmdb_file.h). LMDB: readers and the one writer do not
// block each other.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/source/inode_details.h"
#include "backup/source/settle_writes.h"
#include "core/log.h"

namespace vs::backup {

class InodeIndex {
 public:
  // `dir` is created. With `read_only` a missing index is an empty one. `log` outlives it. Throws Error if
  // there can be none, because the disk is full or cannot be written to.
  InodeIndex(const std::string& dir, bool read_only, Log& log);
  ~InodeIndex();
  InodeIndex(const InodeIndex&) = delete;

  std::optional<InodeDetails> known(uint64_t filesystem, const Inode& inode) const;

  struct Learned {
    uint64_t filesystem;
    Inode inode;
    InodeDetails details;
    int64_t seen_ns;             // the clock before it was looked at
    int64_t doubt_ns = kRacyNs;  // see settle_writes()
  };
  // Throws Error if it cannot be kept; what was kept before is.
  void learn(const std::vector<Learned>& learned);

 private:
  void put(const std::vector<Learned>& learned);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vs::backup
