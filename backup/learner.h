// Collects what a run reads and hands it to the index in batches. For one thread at a time: the pipeline's
// sink, and the planner when nothing is under way.
//
// The index is a cache, and no archive is made worse by what it has no room for: from the first batch on that
// it cannot keep nothing more is kept, and that is named once, as an object that could not be handled (exit
// 3).
#pragma once

#include <cstdint>
#include <vector>

#include "backup/source/inode_index.h"

namespace vs::backup {

class Learner {
 public:
  // `index` may be null: nothing is kept then. `moment_ns`: when the snapshot was made that is read; 0 for
  // trees that are read as they are now.
  Learner(InodeIndex* index, int64_t moment_ns, Log& log) : index_(index), moment_ns_(moment_ns), log_(log) {}
  void add(std::vector<InodeIndex::Learned>&& some);
  void flush();

 private:
  InodeIndex* index_;
  int64_t moment_ns_;
  Log& log_;
  std::vector<InodeIndex::Learned> pending_;
};

}  // namespace vs::backup
