// What the package managers of one guest recorded about its files, read from outside.
//
// Nothing of the guest is run and nothing is written into its tree. The database is the guest's word: hostile
// until proven, so it is parsed with every length checked, rpm databases in a sandboxed child on a private
// copy (rpm_reader.h), and nothing here is ever a reason to share a file: it can only name files that MAY be
// shared when their bytes, class and recorded digest agree. A lying database harms its own guest only.
//
// Sources: dpkg (var/lib/dpkg: status, status.d, info/*.list, *.md5sums, *.conffiles, diversions,
// statoverride), rpm (sqlite, ndb, bdb_ro; var/lib/rpm and usr/lib/sysimage/rpm).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/tree/root_dir.h"
#include "core/typed_package.h"

namespace vs::unify {

enum class DigestAlgorithm : uint8_t {
  none = 0,
  md5 = 1,
  sha1 = 2,
  sha256 = 8,
  sha384 = 9,
  sha512 = 10,
  sha224 = 11
};                                              // numbers of RFC 4880, as rpm has them
size_t digest_size(DigestAlgorithm algorithm);  // in bytes; 0 for none
std::string_view digest_name(DigestAlgorithm algorithm);

enum class PackageKind : uint8_t { dpkg, rpm };

struct Package {
  std::string name;     // "libc6"
  std::string version;  // dpkg: version; rpm: [epoch:]version-release
  std::string arch;
  std::string source;  // source package name ("glibc"); the package's own name when none is recorded
  PackageKind kind = PackageKind::dpkg;
};

inline bool fits(const TypedPackage& typed, const Package& package) {
  return typed.fits(package.name, package.source, package.arch);
}

// Why a recorded file must not be shared whatever its content; bits.
enum PackageFileFlag : uint8_t {
  kConfig = 1,      // conffile, %config
  kGhost = 2,       // %ghost: not from the package
  kDiverted = 4,    // dpkg-divert: the path holds another package's file, or the administrator's
  kOverridden = 8,  // dpkg-statoverride: mode and owner differ from guest to guest
  kNotNormal = 16,  // package not (fully) installed; rpm file state not NORMAL (replaced, not installed, net
                    // shared, wrong color)
  kMayChange = 32,  // rpm: verify flags without the digest bit: content is expected to change
  kAmbiguous =
      64,  // two packages record different digests for one path and the database does not say which holds
  kNoDigest = 128,  // dpkg: the package came with digests, but none that can be used of this file
};

// One path of one package.
struct PackageFile {
  uint32_t package = 0;  // index into PackageIndex::packages()
  uint32_t digest = 0;   // offset into the digest pool; meaningless for algorithm none
  uint32_t name = 0;     // offset of the NUL-terminated base name in the name pool
  DigestAlgorithm algorithm = DigestAlgorithm::none;
  uint8_t flags = 0;  // PackageFileFlag
};

class PackageIndex {
 public:
  // Files of one real directory of the guest, sorted by name.
  using Dir = std::span<const PackageFile>;

  bool empty() const { return files_.empty(); }
  // A database is there that could not be used as a whole: what it says of any file, "configuration" say, is
  // not known.
  bool unknown() const { return unknown_; }
  // Why it is: more directories than are looked up are named through symlinks.
  bool too_many_links() const { return too_many_links_; }
  const std::vector<Package>& packages() const { return packages_; }
  size_t file_count() const { return files_.size(); }
  // All files; a file's position in here is how a row of the file table refers to it.
  std::span<const PackageFile> files() const { return files_; }

  // The recorded files whose directory is, in the guest as it is now, the directory with this inode number
  // (on the guest's own filesystem). Aliases such as /bin -> usr/bin are resolved when the index is made, by
  // (dev, ino) and never by string. Empty when no package has files there. Thread safe.
  Dir dir(uint64_t ino) const;
  // One file in what dir() gave; nullptr if not recorded. O(log n).
  const PackageFile* find(Dir dir, std::string_view name) const;

  std::string_view name(const PackageFile& file) const { return names_.data() + file.name; }
  // Raw digest bytes, digest_size(file.algorithm) of them.
  std::string_view digest(const PackageFile& file) const;
  // "dpkg", "rpm (sqlite)", "dpkg + rpm (ndb)", "none", "none (apk: not read by this version)": for status
  // and messages.
  const std::string& source() const { return source_; }

 private:
  friend class PackageIndexBuilder;
  std::vector<Package> packages_;
  std::vector<PackageFile> files_;  // grouped by directory, in it sorted by name
  std::vector<char> names_;
  std::vector<char> digests_;
  std::unordered_map<uint64_t, std::pair<uint32_t, uint32_t>> dirs_;  // ino -> begin, end in files_
  std::string source_;
  bool unknown_ = false, too_many_links_ = false;
};

// Whether the guest has a package of this name, in whatever state.
bool has_package(const PackageIndex& index, const TypedPackage& typed);

// Collects what a reader finds, one path after the other, and makes the index.
class PackageIndexBuilder {
 public:
  PackageIndexBuilder();
  ~PackageIndexBuilder();
  PackageIndexBuilder(PackageIndexBuilder&&) noexcept;
  PackageIndexBuilder& operator=(PackageIndexBuilder&&) noexcept;

  uint32_t add_package(Package package);
  // `path` absolute or relative to the guest's root, as recorded (string_views need not outlive the call).
  // `digest` raw bytes. False, and nothing is added, for a path that cannot name a file below the root:
  // empty, with a ".." or NUL in it, a component above 255 bytes, more than 64 of them; and when the index is
  // full (kMaxFiles).
  bool add_file(std::string_view path, uint32_t package, DigestAlgorithm algorithm, std::string_view digest,
                uint8_t flags);
  // Flags of a path that some package may own (a diversion, an override); without an owner it is not
  // recorded.
  bool add_flags(std::string_view path, uint8_t flags);
  // The index will be unknown().
  void mark_unknown();
  // Resolves directories in the guest and sorts. A path recorded more than once: flags are united; digests
  // that differ make it kAmbiguous. An entry that is kNotNormal yields to one that is normal: of a path that
  // two packages claim the database then does say which holds (rpm: state replaced, wrong color).
  PackageIndex build(const RootDir& root, std::string source) &&;

  // A guest of 10 million packaged files does not exist; a database that says so wants our memory.
  static constexpr size_t kMaxFiles = 10'000'000;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vs::unify
