// Pass 8: what is to be done, as data that a person can read and edit; apply does exactly this.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "unify/plan/candidates.h"

namespace vs::unify {

using DuplicateNumber = TypedNumber<struct DuplicateTag>;      // in LinkPlan::duplicates
using GroupNumber = TypedNumber<struct GroupTag>;              // in LinkPlan::groups
using PlanPackageNumber = TypedNumber<struct PlanPackageTag>;  // in LinkPlan::packages

// Duplicates proved equal in bytes and class when they were read. Apply proves it again, under leases.
struct PlanGroup {
  std::vector<Key128> keys;  // what the master will answer to: those of the duplicates, usually one
  Key128 content;            // XXH3-128 of the bytes
  uint64_t size = 0;
  uint64_t xattrs = 0;
  DigestAlgorithm algorithm =
      DigestAlgorithm::none;          // recorded by the package database of the first duplicate's guest
  std::string digest;                 // raw
  std::optional<std::string> master;  // name of an existing one in the store; none: it is to be made
  int64_t read_at_ns = 0;             // when the duplicates were read (GroupVerdict); 0: not by this process
  uint64_t shared_with = 0;           // reflink guard: sharing group that the first duplicate is already in
  PlanPackageNumber package;
  DuplicateNumber begin, end;  // range in LinkPlan::duplicates
};

struct PlanPackage {
  std::string name, version, arch, source;
};

// Steps refer to rows of a file table: the scan's, or the one read_plan() made.
struct LinkPlan {
  TypedVector<NameNumber, RowNumber> names;
  TypedVector<DuplicateNumber, Duplicate> duplicates;
  TypedVector<GroupNumber, PlanGroup> groups;            // in the order of their first duplicate's directory
  TypedVector<PlanPackageNumber, PlanPackage> packages;  // [0] is nameless: scope all
  uint64_t file_count() const;                           // names that would change
  // Bytes on disk that would be freed, counting whole blocks: each duplicate's, less one copy for each new
  // master.
  uint64_t bytes_to_save(uint32_t block_size) const;
};

// For whom a plan was made; apply refuses another's.
struct PlanHeader {
  std::string host;  // machine id
  std::string pool;  // mount point
  uint64_t dev = 0;
  std::optional<std::string> store_id;  // none: the store did not exist yet
  std::string guard;
  std::string scope;
  bool ignore_mtime = false;
  struct Tree {
    std::string name, path;
    uint64_t dev = 0, ino = 0;
  };
  std::vector<Tree> trees;
};

// One line each: header, groups, trailer with their number (plan_file.md).
std::string plan_text(const PlanHeader& header, const LinkPlan& plan, const FileTable& table);

struct ParsedPlan {
  PlanHeader header;
  LinkPlan plan;
  FileTable table;
};
// Throws Error naming line and what was expected, for anything that is not a whole, well-formed plan.
// (Hostile input: fuzzed.)
ParsedPlan parse_plan(std::string_view text, const std::string& file);

}  // namespace vs::unify
