#include "unify/plan/eligibility.h"

#include <fmt/format.h>
#include <fnmatch.h>
#include <linux/stat.h>

#include <algorithm>

namespace vs::unify {
namespace {

struct ReasonText {
  std::string_view name, explanation;
};
// In the order of the enumeration.
constexpr ReasonText kTexts[] = {
    {"excluded", "its path is excluded by --exclude or the default excludes"},
    {"unowned", "no package owns it (scope packages shares package files only)"},
    {"config", "the package declares it a configuration file"},
    {"ghost", "the package declares the path but does not ship the file"},
    {"diverted", "dpkg-divert moves this path"},
    {"overridden", "dpkg-statoverride sets owner and mode in this guest"},
    {"not_installed", "its package is not in state installed, or the file not in state normal"},
    {"may_change", "the package says that its content may change"},
    {"ambiguous", "several packages record different contents for this path"},
    {"no_digest", "its package came with digests of its files, but without a usable one of this file"},
    {"lock_like",
     "its name looks like a lock or pid file, and locks on a shared file would reach other guests"},
    {"empty", "it is empty: nothing to save"},
    {"small", "it is smaller than --min-size"},
    {"sparse", "it takes up less than a quarter of its size on disk: nothing to save but holes"},
    {"set_id",
     "it is set-user-id, set-group-id or sticky: package managers change the mode of the old file of those"},
    {"capability", "it has file capabilities: package managers remove them from the old file"},
    {"attributes",
     "it is immutable, append-only, encrypted or verity-protected by the guest or the administrator"},
    {"linked_elsewhere",
     "it has more hard links than were found among the files that may be shared; all move together or none"},
    {"shared_unsealed",
     "it is one inode of several guests that nobody sealed (cp -al makes such): what one of them writes to "
     "it, "
     "the others have"},
    {"no_partner", "no other guest has the same file"},
    {"own_project",
     "no other guest has the same file, and its own has a quota, for which a shared file would not count"},
    {"not_pristine", "its content is not what the guest's package database records"},
    {"unshareable_extents", "its extents cannot be shared"},
    {"running",
     "a program of its guest runs it or has it open, and that guest could not be made to stand still for a "
     "moment; it is shared in a night in which it does not run"},
    {"held", "its guest is held: vunify release --hold, or vapt or vrpm at work in it"},
    {"busy", "a process has it open for writing or mapped writable"},
    {"changed_meanwhile", "it changed while it was looked at"},
    {"unreadable", "it could not be read"},
    {"unknown_packages",
     "the package database of its guest could not be used (see the messages), so nothing is known of any of "
     "its files"},
    {"package_work", "the package manager of its guest is at work, or has not finished"},
    {"no_space", "no space or no inodes left for a master"},
    {"too_many_links", "the filesystem allows no more links"},
    {"other_project", "a quota project keeps the master out of its directory"},
    {"io_error", "the system refused a step"},
    {"lease_refused", "the filesystem gives no leases, so writers cannot be noticed"},
    {"read_budget",
     "its guest's files took up what is read of one guest in one run (--max-read); the next run goes on"},
    {"out_of_time", "the run was stopped before its turn came"},
};
static_assert(std::size(kTexts) == kReasons);

bool is_glob(std::string_view pattern) {
  return pattern.find_first_of("*?[\\") != std::string_view::npos;
}

bool glob_matches(const std::string& glob, const std::string& path) {
  return ::fnmatch(glob.c_str(), path.c_str(), FNM_PATHNAME) == 0;
}

}  // namespace

std::string_view reason_name(Reason reason) {
  return kTexts[static_cast<size_t>(reason)].name;
}
std::string_view reason_explanation(Reason reason) {
  return kTexts[static_cast<size_t>(reason)].explanation;
}
bool is_trouble(Reason reason) {
  return reason >= Reason::busy;
}

namespace {

// What is said of bin, sbin and lib* is meant of usr/bin, usr/sbin and usr/lib* as well, and the other way
// round: in most guests one is a link to the other, and in which, who writes a pattern for all does not know.
std::optional<std::string> merged_usr_twin(const std::string& pattern) {
  const bool in_usr = pattern.starts_with("usr/");
  const std::string rest = in_usr ? pattern.substr(4) : pattern;
  const std::string first = rest.substr(0, rest.find('/'));
  if (first != "bin" && first != "sbin" && !first.starts_with("lib")) return std::nullopt;
  if (first == "libexec") return std::nullopt;
  return in_usr ? rest : "usr/" + rest;
}

}  // namespace

void ExcludeList::add(std::string pattern) {
  const std::string given = pattern;
  pattern = fmt::format("{}", fmt::join(path_parts(pattern), "/"));
  if (pattern.ends_with("/**")) pattern.resize(pattern.size() - 3);
  if (pattern.empty())
    throw Error("--exclude '" + given + "': expected a path or glob relative to the guest's root",
                Exit::usage);
  insert(pattern);
  if (const auto twin = merged_usr_twin(pattern)) insert(*twin);
}

void ExcludeList::insert(const std::string& pattern) {
  auto& list = is_glob(pattern) ? globs_ : literals_;
  list.insert(std::upper_bound(list.begin(), list.end(), pattern), pattern);
}

bool ExcludeList::matches(std::string_view path) const {
  if (std::binary_search(literals_.begin(), literals_.end(), path)) return true;
  if (globs_.empty()) return false;
  const std::string text(path);
  return std::any_of(globs_.begin(), globs_.end(),
                     [&](const std::string& glob) { return glob_matches(glob, text); });
}

std::vector<std::string> ExcludeList::literal_names_in(std::string_view dir) const {
  std::vector<std::string> names;
  for (const auto& literal : literals_)
    if (const auto [parent, name] = split_path(literal); parent == dir) names.emplace_back(name);
  return names;
}

std::vector<std::string> default_excludes() {
  return {"dev",  "etc", "home", "media", "mnt", "proc",
          "root", "run", "srv",  "sys",   "tmp", "usr/lib/sysimage",
          "var"};
}

bool lock_like(std::string_view name) {
  for (const std::string_view suffix : {".lock", ".lck", ".lk", ".pid", ".LOCK"})
    if (name.ends_with(suffix)) return true;
  return name == "lock" || name == "LOCK" || name.starts_with(".#");
}

std::optional<Reason> refuse_record(const PackageFile& file) {
  if (file.flags == 0) return std::nullopt;
  if (file.flags & kConfig) return Reason::config;
  if (file.flags & kGhost) return Reason::ghost;
  if (file.flags & kDiverted) return Reason::diverted;
  if (file.flags & kOverridden) return Reason::overridden;
  if (file.flags & kNotNormal) return Reason::not_installed;
  if (file.flags & kMayChange) return Reason::may_change;
  if (file.flags & kAmbiguous) return Reason::ambiguous;
  return Reason::no_digest;
}

bool refuses_in(Reason record_reason, Scope scope) {
  return scope == Scope::packages || record_reason == Reason::config || record_reason == Reason::ghost ||
         record_reason == Reason::diverted || record_reason == Reason::overridden;
}

std::optional<Reason> refuse_stat(const Rules& rules, const FileStat& stat) {
  constexpr uint64_t kOwnAttributes =
      STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND | STATX_ATTR_ENCRYPTED | STATX_ATTR_VERITY;
  if (stat.size == 0) return Reason::empty;
  if (stat.size < rules.min_size) return Reason::small;
  // A guest makes a file of terabytes of hole for nothing, and reading it takes days.
  constexpr uint64_t kNeverSparse = 1 << 20;
  if (stat.size >= kNeverSparse && stat.blocks < stat.size / 4 / 512) return Reason::sparse;
  if ((stat.mode & 07000) != 0) return Reason::set_id;
  if ((stat.attributes & kOwnAttributes) != 0) return Reason::attributes;
  return std::nullopt;
}

}  // namespace vs::unify
