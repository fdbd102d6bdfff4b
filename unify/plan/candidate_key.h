// By which files and masters find each other before anything is read: a hash of size, class and what the
// package database records.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/store/file_class.h"
#include "unify/packages/hasher.h"
#include "unify/packages/package_index.h"
#include "unify/plan/eligibility.h"
#include "unify/scan/file_table.h"

namespace vs::unify {

// The key for one row; also what a master answers to. `path` only matters where no digest is recorded.
Key128 candidate_key(const FileTable& table, const FileRow& row, const PackageIndex& packages,
                     const Rules& rules);
// The key that a file of this size and class with this recorded digest has: what a master answers to besides
// the keys it was made for.
Key128 digest_key(uint64_t size, const FileClass& file_class, DigestAlgorithm algorithm,
                  std::string_view digest, bool ignore_mtime);
// Of size and class alone: files of different keys may be compared only if they agree in this one.
Key128 class_key(const FileRow& row, const Rules& rules);

}  // namespace vs::unify
