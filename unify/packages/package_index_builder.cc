// From paths as they come to files grouped by the guest's real directories.
#include <algorithm>
#include <cstring>

#include "unify/packages/package_index.h"
#include "unify/packages/recorded_dirs.h"

namespace vs::unify {
namespace {

constexpr uint32_t kNoPackage = UINT32_MAX;  // of an entry that only brings flags

// What stays true of a path whichever of its owners holds it.
constexpr uint8_t kFlagsOfThePath = kConfig | kGhost | kDiverted | kOverridden | kMayChange | kAmbiguous;

}  // namespace

struct PackageIndexBuilder::Impl {
  bool unknown = false;
  std::vector<Package> packages;
  std::vector<PackageFile> files;
  std::vector<uint32_t> dir_of;  // files[i] is in directory dir_of[i]
  std::vector<char> names;
  std::vector<char> digests;
  RecordedDirs dirs;

  bool add(std::string_view path, PackageFile file, std::string_view digest);
  std::vector<uint32_t> group_by_inode(const RootDir& root, std::vector<uint64_t>& group_inos,
                                       bool& all_known) const;
  void sort_by_name(std::span<PackageFile> group) const;
  size_t merge_equal_names(std::span<PackageFile> group) const;
  void merge(PackageFile& kept, const PackageFile& other) const;
  bool same_digest(const PackageFile& a, const PackageFile& b) const;
};

PackageIndexBuilder::PackageIndexBuilder() : impl_(std::make_unique<Impl>()) {}
PackageIndexBuilder::~PackageIndexBuilder() = default;
PackageIndexBuilder::PackageIndexBuilder(PackageIndexBuilder&&) noexcept = default;
PackageIndexBuilder& PackageIndexBuilder::operator=(PackageIndexBuilder&&) noexcept = default;

uint32_t PackageIndexBuilder::add_package(Package package) {
  if (package.source.empty()) package.source = package.name;
  impl_->packages.push_back(std::move(package));
  return static_cast<uint32_t>(impl_->packages.size() - 1);
}

bool PackageIndexBuilder::add_file(std::string_view path, uint32_t package, DigestAlgorithm algorithm,
                                   std::string_view digest, uint8_t flags) {
  if (package >= impl_->packages.size()) return false;
  if (digest.size() != digest_size(algorithm)) return false;
  return impl_->add(path, {package, 0, 0, algorithm, flags}, digest);
}

bool PackageIndexBuilder::add_flags(std::string_view path, uint8_t flags) {
  return impl_->add(path, {kNoPackage, 0, 0, DigestAlgorithm::none, flags}, {});
}

bool PackageIndexBuilder::Impl::add(std::string_view path, PackageFile file, std::string_view digest) {
  const auto [dir, name] = split_path(path);
  if (name.empty() || name == "." || name == ".." || name.size() > RecordedDirs::kMaxName) return false;
  if (name.find('\0') != std::string_view::npos || files.size() >= kMaxFiles) return false;
  const uint32_t number = dirs.add(dir);
  if (number == RecordedDirs::kNone) return false;
  file.name = static_cast<uint32_t>(names.size());
  file.digest = static_cast<uint32_t>(digests.size());
  names.insert(names.end(), name.begin(), name.end());
  names.push_back('\0');
  digests.insert(digests.end(), digest.begin(), digest.end());
  files.push_back(file);
  dir_of.push_back(number);
  return true;
}

void PackageIndexBuilder::mark_unknown() {
  impl_->unknown = true;
}

PackageIndex PackageIndexBuilder::build(const RootDir& root, std::string source) && {
  Impl& in = *impl_;
  std::vector<uint64_t> inos;
  bool all_known = true;
  const std::vector<uint32_t> group_of = in.group_by_inode(root, inos, all_known);

  // Counting sort into groups; what lies in no directory of the guest (group_of: inos.size()) goes last and
  // is cut.
  std::vector<uint32_t> begin(inos.size() + 2);
  for (const uint32_t dir : in.dir_of) ++begin[group_of[dir] + 1];
  for (size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
  std::vector<PackageFile> grouped(in.files.size());
  std::vector<uint32_t> next(begin.begin(), begin.end() - 1);
  for (size_t i = 0; i < in.files.size(); ++i) grouped[next[group_of[in.dir_of[i]]]++] = in.files[i];

  PackageIndex index;
  index.unknown_ = in.unknown || !all_known;
  index.too_many_links_ = !all_known;
  index.dirs_.reserve(inos.size());
  index.files_.reserve(begin[inos.size()]);
  for (size_t i = 0; i < inos.size(); ++i) {
    const std::span group(grouped.data() + begin[i], begin[i + 1] - begin[i]);
    in.sort_by_name(group);
    const auto kept = group.first(in.merge_equal_names(group));
    if (kept.empty()) continue;
    const auto at = static_cast<uint32_t>(index.files_.size());
    index.files_.insert(index.files_.end(), kept.begin(), kept.end());
    index.dirs_.emplace(inos[i], std::pair(at, static_cast<uint32_t>(index.files_.size())));
  }
  index.packages_ = std::move(in.packages);
  index.names_ = std::move(in.names);
  index.digests_ = std::move(in.digests);
  index.source_ = std::move(source);
  // They grew by doubling and live as long as the run: a third of them would be air.
  index.files_.shrink_to_fit();
  index.names_.shrink_to_fit();
  index.digests_.shrink_to_fit();
  return index;
}

// For each recorded directory the number of its group. Several spellings (/bin, /usr/bin) may be one inode.
std::vector<uint32_t> PackageIndexBuilder::Impl::group_by_inode(const RootDir& root,
                                                                std::vector<uint64_t>& group_inos,
                                                                bool& all_known) const {
  const std::vector<uint64_t> inos = dirs.resolve(root, all_known);
  std::unordered_map<uint64_t, uint32_t> known;
  known.reserve(inos.size());
  std::vector<uint32_t> group_of(inos.size());
  for (size_t i = 0; i < inos.size(); ++i) {
    if (inos[i] == 0) continue;
    const auto [place, added] = known.try_emplace(inos[i], static_cast<uint32_t>(group_inos.size()));
    if (added) group_inos.push_back(inos[i]);
    group_of[i] = place->second;
  }
  for (size_t i = 0; i < inos.size(); ++i)
    if (inos[i] == 0) group_of[i] = static_cast<uint32_t>(group_inos.size());
  return group_of;
}

void PackageIndexBuilder::Impl::sort_by_name(std::span<PackageFile> group) const {
  const auto less = [this](const PackageFile& a, const PackageFile& b) {
    const int order = std::strcmp(names.data() + a.name, names.data() + b.name);
    return order != 0 ? order < 0 : a.name < b.name;  // offsets grow: the order in which they were added
  };
  if (!std::is_sorted(group.begin(), group.end(), less)) std::sort(group.begin(), group.end(), less);
}

// Returns how many are left, at the front.
size_t PackageIndexBuilder::Impl::merge_equal_names(std::span<PackageFile> group) const {
  size_t kept = 0;
  for (size_t i = 0; i < group.size();) {
    PackageFile file = group[i];
    const char* name = names.data() + file.name;
    for (++i; i < group.size() && std::strcmp(name, names.data() + group[i].name) == 0; ++i)
      merge(file, group[i]);
    if (file.package != kNoPackage) group[kept++] = file;
  }
  return kept;
}

void PackageIndexBuilder::Impl::merge(PackageFile& kept, const PackageFile& other) const {
  const uint8_t both = static_cast<uint8_t>((kept.flags | other.flags) & kFlagsOfThePath);
  const auto yields = [](const PackageFile& file, const PackageFile& to) {
    return file.package == kNoPackage ||
           (to.package != kNoPackage && (file.flags & kNotNormal) != 0 && (to.flags & kNotNormal) == 0);
  };
  if (yields(kept, other)) {
    kept = other;
    kept.flags |= both;
  } else if (yields(other, kept)) {
    kept.flags |= both;
  } else {
    kept.flags |= static_cast<uint8_t>(both | ((kept.flags | other.flags) & kNotNormal));
    if (kept.package == other.package && kept.algorithm == DigestAlgorithm::none) {
      kept.algorithm = other.algorithm;
      kept.digest = other.digest;
      if (kept.algorithm != DigestAlgorithm::none) kept.flags &= static_cast<uint8_t>(~kNoDigest);
    } else if (kept.package != other.package || other.algorithm != DigestAlgorithm::none) {
      if (!same_digest(kept, other)) kept.flags |= kAmbiguous;
    }
  }
}

bool PackageIndexBuilder::Impl::same_digest(const PackageFile& a, const PackageFile& b) const {
  if (a.algorithm != b.algorithm) return false;
  const auto bytes = [&](const PackageFile& file) {
    return std::string_view(digests.data() + file.digest, digest_size(file.algorithm));
  };
  return bytes(a) == bytes(b);
}

}  // namespace vs::unify
