// Pass 7: which candidates are equal, byte for byte.
//
// The members of a group are read in lockstep, block by block, and compared with one representative a
// content; so each file is read once and a content is hashed once, not each file. Members that differ from
// all others are dropped when they do. Where the package database records a digest, it is computed once a
// content: what does not match is no pristine package file and is not shared (a guest must not learn by
// planting a guess what another guest has changed).
#pragma once

#include <atomic>
#include <vector>

#include "core/store/store.h"
#include "core/tree/inventory.h"
#include "unify/plan/candidates.h"
#include "unify/plan/index.h"

namespace vs::unify {

// A set of duplicates with one content; from one candidate group there may come several.
struct VerifiedContent {
  std::vector<CandidateNumber> duplicates;  // pristine, as their own database records it
  std::vector<CandidateNumber> changed;     // equal to the others, but not what their database records
  Key128 content;
  uint64_t xattrs = 0;
  std::optional<MasterNumber> master;  // equal to this one of the group's
};

struct GroupVerdict {
  std::vector<VerifiedContent> contents;
  std::vector<std::pair<CandidateNumber, Reason>> refused;
  std::vector<std::pair<Reason, std::string>>
      troubles;  // the first of each kind among the refused, for messages
  int64_t read_at_ns =
      0;  // when reading began; what changed shortly before may have changed once more unseen
  bool from_index = false;  // nothing was read
};

// How many bytes of each guest's files are read in one run: a guest can make files that take no room (extents
// that it shares with itself, zeros that the filesystem compresses) and many days to read. By several
// threads; where it runs out, which of the guest's files are left depends on them.
class ReadBudget {
 public:
  ReadBudget(size_t guests, uint64_t each);
  bool take(GuestNumber guest, uint64_t bytes);  // false: so much is not left, and nothing is taken

 private:
  std::vector<std::atomic<uint64_t>> left_;
};

struct VerifyInput {
  Guests guests;
  const FileTable& table;
  const CandidateSet& candidates;
  const GuestPackages& packages;
  const GuestDevices& devices;
  const MasterTable& masters;
  const Store* store;  // nullptr: no masters
  const Rules& rules;
  const Cancel* cancel = nullptr;  // asked at every block; what it stops is out_of_time
  ReadBudget* budget = nullptr;    // of verify_candidates(), by the rules
};
// The first name's row.
const FileRow& row_of_duplicate(const VerifyInput& input, CandidateNumber duplicate);
// The digest that a duplicate's package database records.
std::pair<DigestAlgorithm, std::string_view> recorded_digest(const VerifyInput& input,
                                                             CandidateNumber duplicate);

// The stage body: one group. Reusable, by one thread at a time; knows nothing of TBB.
class GroupVerifier {
 public:
  explicit GroupVerifier(const VerifyInput& input);
  GroupVerifier(GroupVerifier&&) noexcept;
  ~GroupVerifier();
  GroupVerdict verify(const CandidateGroup& group);
  uint64_t bytes_read() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// All groups in parallel. A group whose members the index knows all of is not read.
std::vector<GroupVerdict> verify_candidates(const VerifyInput& input, const Index& index,
                                            RunContext& context);

}  // namespace vs::unify
