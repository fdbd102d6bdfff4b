#include "unify/packages/package_index.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>

#include "unify/packages/dpkg_reader.h"
#include "unify/packages/rpm_reader.h"
#include "unify/packages/trouble_log.h"

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

std::string_view PackageIndex::digest(const PackageFile& file) const {
  return {digests_.data() + file.digest, digest_size(file.algorithm)};
}

namespace {

// Package managers that we know to be there and cannot read: said in `status`, or an administrator wonders
// why nothing of that guest is shared.
std::string unread_databases(const RootDir& root) {
  std::string found;
  for (const auto& [name, place] :
       {std::pair("apk", "lib/apk/db/installed"), std::pair("pacman", "var/lib/pacman/local")})
    if (root.open_in_root(place, O_PATH)) found += (found.empty() ? "" : ", ") + std::string(name);
  return found.empty() ? "none" : "none (" + found + ": not read by this version)";
}

}  // namespace

PackageIndex load_packages(const RootDir& root, const std::string& cache_dir,
                           std::vector<PackageTrouble>& troubles) {
  TroubleLog log(troubles);
  PackageIndexBuilder builder;
  std::string source;
  if (read_dpkg(root, builder, log)) source = "dpkg";
  RpmOptions options;
  options.cache_dir = cache_dir;
  if (!cache_dir.empty()) options.work_dir = cache_dir;
  if (const std::string backends = read_rpm(root, options, builder, log); !backends.empty())
    source += (source.empty() ? "rpm (" : " + rpm (") + backends + ")";
  if (source.empty()) source = unread_databases(root);
  return std::move(builder).build(root, std::move(source));
}

}  // namespace vs::unify
