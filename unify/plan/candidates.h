// Pass 6: files that could be the same, before anything is opened.
#pragma once

#include <vector>

#include "unify/plan/guest_files.h"
#include "unify/plan/master_table.h"

namespace vs::unify {

using NameNumber = TypedNumber<struct NameTag>;            // in `names`: of candidates, or of a plan
using CandidateNumber = TypedNumber<struct CandidateTag>;  // in CandidateSet::duplicates

// One inode of a guest that is to give way to a master, with all its names: [begin, end) of the `names`
// beside the table of duplicates that it is in.
struct Duplicate {
  NameNumber begin, end;
};

// Files of equal size, class (all of it but extended attributes, which cost an open) and package file
// identity: the digest that the package database records, or, where it records none, package name, version,
// architecture and path. Databases that record digests of different kinds (MD5 by dpkg, SHA-256 by rpm)
// cannot be compared without reading: all files of the size and class are then one group, and after reading
// each member's content must have the digest of its own database.
struct CandidateGroup {
  Key128 key;                         // of the first member
  CandidateNumber begin, end;         // range in CandidateSet::duplicates
  bool mixed = false;                 // members with different keys
  std::vector<MasterNumber> masters;  // that answer to a key of a member
};

struct CandidateSet {
  TypedVector<NameNumber, RowNumber> names;
  TypedVector<CandidateNumber, Duplicate> duplicates;
  std::vector<CandidateGroup> groups;  // in the order of their first name
  CountsByGuest counts;                // names that are in no group, by reason
};

// Whether the names of one inode are in several guests, which nobody but cp -al and the like does: it is
// shared without a seal.
bool is_of_several_guests(const CandidateSet& set, const FileTable& table, const Duplicate& duplicate);

// A group of one is dropped (no_partner, or shared_unsealed) unless a master waits for it.
CandidateSet find_candidates(const GuestFiles& files, const Rules& rules, const MasterTable& masters);

}  // namespace vs::unify
