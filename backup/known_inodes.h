// The pass that decides which inodes are what they were when an earlier run read them.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>

#include "backup/source/inode_details.h"
#include "backup/source/inode_index.h"

namespace vs::backup {

struct KnownInodes {
  DetailsTable details;                    // of the inodes that are as they were
  uint64_t count = 0;                      // of these
  std::unordered_set<InodeNumber> sample;  // files among them that are read and compared all the same
};

// `index` may be null: nothing is known then. One in `one_in` of the known files is in the sample, others in
// each run (0: none); which ones follows from the stamp.
KnownInodes find_known(const ScannedHost& host, const InodeIndex* index, const std::string& stamp,
                       uint64_t one_in);

}  // namespace vs::backup
