#include "unify/packages/package_index.h"

#include <algorithm>

namespace vs::unify {

size_t digest_size(DigestAlgorithm algorithm) {
  switch (algorithm) {
    case DigestAlgorithm::none:
      return 0;
    case DigestAlgorithm::md5:
      return 16;
    case DigestAlgorithm::sha1:
      return 20;
    case DigestAlgorithm::sha224:
      return 28;
    case DigestAlgorithm::sha256:
      return 32;
    case DigestAlgorithm::sha384:
      return 48;
    case DigestAlgorithm::sha512:
      return 64;
  }
  return 0;
}

std::string_view digest_name(DigestAlgorithm algorithm) {
  switch (algorithm) {
    case DigestAlgorithm::none:
      return "none";
    case DigestAlgorithm::md5:
      return "md5";
    case DigestAlgorithm::sha1:
      return "sha1";
    case DigestAlgorithm::sha224:
      return "sha224";
    case DigestAlgorithm::sha256:
      return "sha256";
    case DigestAlgorithm::sha384:
      return "sha384";
    case DigestAlgorithm::sha512:
      return "sha512";
  }
  return "unknown";
}

PackageIndex::Dir PackageIndex::dir(uint64_t ino) const {
  const auto found = dirs_.find(ino);
  if (found == dirs_.end()) return {};
  return {files_.data() + found->second.first, found->second.second - found->second.first};
}

const PackageFile* PackageIndex::find(Dir dir, std::string_view wanted) const {
  const auto place =
      std::lower_bound(dir.begin(), dir.end(), wanted,
                       [this](const PackageFile& file, std::string_view key) { return name(file) < key; });
  return place != dir.end() && name(*place) == wanted ? &*place : nullptr;
}

bool has_package(const PackageIndex& index, const TypedPackage& typed) {
  return std::any_of(index.packages().begin(), index.packages().end(),
                     [&](const Package& package) { return fits(typed, package); });
}

std::string_view PackageIndex::digest(const PackageFile& file) const {
  return {digests_.data() + file.digest, digest_size(file.algorithm)};
}

}  // namespace vs::unify
