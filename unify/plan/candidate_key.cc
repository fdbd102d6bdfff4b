#include "unify/plan/candidate_key.h"

#include <string>

#include "core/durable/record_log.h"

namespace vs::unify {
namespace {

std::string class_bytes(uint64_t size, const FileClass& file_class, bool ignore_mtime) {
  std::string out;
  put_u64(out, size);
  put_u32(out, file_class.uid);
  put_u32(out, file_class.gid);
  put_u32(out, file_class.mode);
  put_u64(out, ignore_mtime ? 0 : static_cast<uint64_t>(file_class.mtime_ns));
  return out;
}

std::string class_bytes(const FileRow& row, const Rules& rules) {
  if (rules.bytes_only) return class_bytes(row.size, {}, true);
  return class_bytes(row.size, {row.uid, row.gid, row.mode, row.mtime_ns, 0}, rules.ignore_mtime);
}

void put_digest(std::string& out, DigestAlgorithm algorithm, std::string_view digest) {
  put_u32(out, static_cast<uint32_t>(algorithm));
  put_string(out, digest);
}

}  // namespace

Key128 digest_key(uint64_t size, const FileClass& file_class, DigestAlgorithm algorithm,
                  std::string_view digest, bool ignore_mtime) {
  std::string bytes = class_bytes(size, file_class, ignore_mtime);
  put_digest(bytes, algorithm, digest);
  return xxh128(bytes);
}

Key128 candidate_key(const FileTable& table, const FileRow& row, const PackageIndex& packages,
                     const Rules& rules) {
  std::string bytes = class_bytes(row, rules);
  if (rules.scope == Scope::all) return xxh128(bytes);
  const PackageFile& file = packages.files()[row.tag];
  put_digest(bytes, file.algorithm,
             file.algorithm == DigestAlgorithm::none ? std::string_view() : packages.digest(file));
  if (file.algorithm == DigestAlgorithm::none) {
    const Package& package = packages.packages()[file.package];
    for (const auto* text : {&package.name, &package.version, &package.arch}) put_string(bytes, *text);
    put_string(bytes, table.path(row));
  }
  return xxh128(bytes);
}

Key128 class_key(const FileRow& row, const Rules& rules) {
  return xxh128(class_bytes(row, rules));
}

}  // namespace vs::unify
