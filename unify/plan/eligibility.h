// Which files may be shared, and for each 'no' a reason with a stable name (docs, --json and `vunify explain`
// use it).
//
// Cheap questions first: by directory, by name and package record before any stat, by stat before any open.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tree/root_dir.h"
#include "unify/packages/package_index.h"

namespace vs::unify {

enum class Reason : uint8_t {
  // By rule: the file is left as it is, as it should be.
  excluded,
  unowned,
  config,
  ghost,
  diverted,
  overridden,
  not_installed,
  may_change,
  ambiguous,
  no_digest,
  lock_like,
  empty,
  small,
  sparse,
  set_id,
  capability,
  attributes,
  linked_elsewhere,
  shared_unsealed,
  no_partner,
  own_project,
  not_pristine,
  unshareable_extents,
  running,
  held,
  // By trouble: it could have been shared, another run will try again. These make exit code 3.
  busy,
  changed_meanwhile,
  unreadable,
  unknown_packages,
  package_work,
  no_space,
  too_many_links,
  other_project,
  io_error,
  lease_refused,
  read_budget,
  out_of_time,
  count_
};
inline constexpr size_t kReasons = static_cast<size_t>(Reason::count_);
std::string_view reason_name(Reason reason);         // "lock_like"
std::string_view reason_explanation(Reason reason);  // one sentence for an administrator
bool is_trouble(Reason reason);

using ReasonCounts = std::array<uint64_t, kReasons>;

enum class Scope { packages, all };

// Paths as globs relative to a guest's root; a matching directory is left out with everything below.
class ExcludeList {
 public:
  // Takes "etc", "/etc", "./etc//", "etc/" and "etc/**" alike, and "lib/x" and "usr/lib/x". Throws
  // Error(Exit::usage) for an empty pattern.
  void add(std::string pattern);
  bool matches(std::string_view path) const;
  // Base names that literal patterns exclude in this directory, and whether any wildcard pattern exists: lets
  // a scan skip matching file by file.
  std::vector<std::string> literal_names_in(std::string_view dir) const;
  bool has_wildcards() const { return !globs_.empty(); }

 private:
  void insert(const std::string& pattern);
  std::vector<std::string> literals_;  // sorted
  std::vector<std::string> globs_;
};

struct Rules {
  Scope scope = Scope::packages;
  ExcludeList excludes;
  uint64_t min_size = 1;      // bytes
  bool ignore_mtime = false;  // masters take the oldest mtime of their first group
  // Files that share extents keep inodes of their own: owner, mode, times and attributes need not be equal.
  bool bytes_only = false;
  uint64_t max_read = uint64_t{1} << 40;  // bytes of one guest's files that one run reads to compare them
};

// What holds local state or secrets, is mounted over, or is not a package's to begin with.
std::vector<std::string> default_excludes();

// Files whose very inode means something to programs: sharing would let one guest's flock block another's.
bool lock_like(std::string_view name);
std::optional<Reason> refuse_record(const PackageFile& file);
// In scope all, only what is a guest's own to change: config, ghost, diverted, overridden.
bool refuses_in(Reason record_reason, Scope scope);
std::optional<Reason> refuse_stat(const Rules& rules, const FileStat& stat);

}  // namespace vs::unify
