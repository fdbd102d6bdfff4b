// Pass 6: files that could be the same, before anything is opened.
#pragma once

#include <optional>
#include <vector>

#include "unify/guest_files.h"
#include "unify/index.h"

namespace vs::unify {

// One inode of guests about to be replaced, with all its names: rows [begin, end) of CandidateSet::names.
struct Victim {
  uint32_t begin = 0;
  uint32_t end = 0;
};

// Files of equal size, class (all of it but extended attributes, which cost an open) and package file identity: the
// digest that the package database records, or, where it records none, package name, version, architecture and path.
struct CandidateGroup {
  Key128 key;
  uint32_t begin = 0;  // range in CandidateSet::victims
  uint32_t end = 0;
  std::optional<uint32_t> master;  // one that answers to the key
};

struct CandidateSet {
  std::vector<uint32_t> names;  // rows of the file table
  std::vector<Victim> victims;
  std::vector<CandidateGroup> groups;  // in the order of their first name
};

// A group of one is dropped (no_partner) unless a master waits for it. Counts go to files.counts.
CandidateSet find_candidates(GuestFiles& files, const Rules& rules, const MasterTable& masters);

// The key for one row; also what a master answers to. `path` only matters where no digest is recorded.
Key128 candidate_key(const FileTable& table, const FileRow& row, const PackageIndex& packages, const Rules& rules);

}  // namespace vs::unify
