#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <optional>
#include <set>

#include "core/escape.h"
#include "core/full_io.h"
#include "core/hex.h"
#include "core/store/file_class.h"
#include "unify/cli/command.h"
#include "unify/plan/plan_maker.h"
#include "unify/plan/verify.h"
#include "unify/typed_path.h"

namespace vs::unify {
namespace {

struct ExplainOptions : Options {
  std::string guest;
  std::vector<std::string> paths;
};

struct Answer {
  std::string verdict;  // "unified", a reason's name, or "will be unified"
  std::string detail;
  bool found = true;  // false: there is no such file, or it cannot be looked at
};

Answer answer(Reason reason, const std::string& more = "") {
  return {std::string(reason_name(reason)),
          std::string(reason_explanation(reason)) + (more.empty() ? "" : " (" + more + ")")};
}

Answer nothing(const Problem& problem) {
  const bool absent = problem.code == ENOENT || problem.code == ENOTDIR;
  return {absent ? "absent" : "unreadable", problem.message, false};
}

// Excluded itself, or below something that is.
bool excluded(const Rules& rules, std::string_view path) {
  for (size_t at = path.find('/'); at != std::string_view::npos; at = path.find('/', at + 1))
    if (rules.excludes.matches(path.substr(0, at))) return true;
  return rules.excludes.matches(path);
}

struct ComparedFile {
  const RootDir& root;
  const std::string& path;
  const FileStat& stat;
};

Expected<bool> same_bytes(int a, int b, uint64_t size, const std::string& object) {
  constexpr size_t kBlock = 256 * 1024;
  std::string first(kBlock, '\0'), second(kBlock, '\0');
  for (uint64_t at = 0; at < size; at += kBlock) {
    const ssize_t got = pread_full(a, first.data(), kBlock, at),
                  there = pread_full(b, second.data(), kBlock, at);
    if (got < 0 || there < 0) return problem_from_errno("read", object);
    if (got != there || std::memcmp(first.data(), second.data(), static_cast<size_t>(got)) != 0) return false;
    if (got == 0) break;
  }
  return true;
}

// "label" for what a security module wrote, "attributes" for all other extended attributes, ACLs among them.
void compare_xattrs(const std::vector<Xattr>& a, const std::vector<Xattr>& b,
                    std::vector<std::string>& found) {
  const auto part = [](const std::vector<Xattr>& all, bool labels) {
    std::vector<Xattr> some;
    std::copy_if(all.begin(), all.end(), std::back_inserter(some),
                 [&](const Xattr& one) { return one.name.starts_with("security.") == labels; });
    return some;
  };
  if (part(a, true) != part(b, true)) found.push_back("label");
  if (part(a, false) != part(b, false)) found.push_back("attributes");
}

// What two files differ in, of all that must be equal in files that share. Empty: in nothing.
std::vector<std::string> differences(const ComparedFile& a, const ComparedFile& b, const Rules& rules) {
  std::vector<std::string> found;
  if (!rules.bytes_only) {
    if (a.stat.uid != b.stat.uid || a.stat.gid != b.stat.gid) found.push_back("owner");
    if (a.stat.mode != b.stat.mode) found.push_back("mode");
    if (!rules.ignore_mtime && a.stat.mtime_ns != b.stat.mtime_ns) found.push_back("mtime");
  }
  const auto mine = a.root.open_regular(a.path), theirs = b.root.open_regular(b.path);
  if (!mine || !theirs) {
    found.push_back((mine ? theirs : mine).error().message);
    return found;
  }
  const auto xattrs = read_xattrs(mine->get(), a.path), their_xattrs = read_xattrs(theirs->get(), b.path);
  if (xattrs && their_xattrs && !rules.bytes_only) compare_xattrs(*xattrs, *their_xattrs, found);
  const auto same = a.stat.size == b.stat.size
                        ? same_bytes(mine->get(), theirs->get(), a.stat.size, a.root.host_path(a.path))
                        : Expected<bool>(false);
  if (!same)
    found.push_back(same.error().message);
  else if (!*same)
    found.push_back("content");
  return found;
}

class Explainer {
 public:
  Explainer(const OpenedPool& pool, RunContext& context)
      : pool_(pool), files_(find_files(pool, {}, context)), counted_(guests_with_project(pool.guests())) {
    candidates_ = find_candidates(files_, pool.rules(), pool.masters());
  }

  Answer explain(GuestNumber guest, const TypedPath& typed) {
    if (!S_ISREG(typed.stat.mode)) return {"not_regular", "it is no regular file; only those are shared"};
    if (const auto master = pool_.masters().find(typed.stat.ino)) return unified(*master, typed.stat);
    const auto no = by_rule(guest, typed);
    Answer found = no ? *no : in_candidates(guest, typed, package_of(guest, typed));
    if (const std::string others = one_inode_with(guest, typed); !others.empty())
      found.detail += "; it is one inode with that of " + others +
                      ", and not sealed: what is written to it here, is changed there";
    return found;
  }

 private:
  // Asks in the order of the passes; the first 'no' is the answer. Nothing: it goes to the candidates.
  std::optional<Answer> by_rule(GuestNumber guest, const TypedPath& typed) const {
    if (excluded(pool_.rules(), typed.path)) return answer(Reason::excluded);
    if (files_.left_alone[guest]) return answer(*files_.left_alone[guest]);
    if (files_.packages[guest].unknown()) return answer(Reason::unknown_packages);
    const PackageFile* file = record_of(guest, typed);
    if (file != nullptr) {
      if (const auto reason = refuse_record(*file); reason && refuses_in(*reason, pool_.rules().scope))
        return answer(*reason, package_text(files_.packages[guest], *file));
    } else if (pool_.rules().scope == Scope::packages) {
      return answer(Reason::unowned);
    }
    if (lock_like(split_path(typed.path).second)) return answer(Reason::lock_like);
    if (const auto reason = refuse_stat(pool_.rules(), typed.stat)) return answer(*reason);
    return std::nullopt;
  }

  // nullptr: no package owns it, or its directory is not to be had.
  const PackageFile* record_of(GuestNumber guest, const TypedPath& typed) const {
    const PackageIndex& packages = files_.packages[guest];
    const auto [parent, name] = split_path(typed.path);
    const auto dir = pool_.guests()[guest].root.open_dir(parent);
    const auto stat = dir ? stat_fd(dir->get(), typed.path) : Expected<FileStat>(dir.error());
    return stat ? packages.find(packages.dir(stat->ino), name) : nullptr;
  }

  static std::string package_text(const PackageIndex& packages, const PackageFile& file) {
    const Package& package = packages.packages()[file.package];
    return "package " + escaped(package.name) + " " + escaped(package.version);
  }
  std::string package_of(GuestNumber guest, const TypedPath& typed) const {
    const PackageFile* file = record_of(guest, typed);
    return file == nullptr ? "" : package_text(files_.packages[guest], *file);
  }

  Answer unified(MasterNumber master, const FileStat& stat) const {
    const MasterRecord& record = pool_.masters()[master];
    std::set<GuestNumber> guests;
    for (const auto& sighting : files_.sightings)
      if (sighting.master == master) guests.insert(sighting.guest);
    return {"unified", fmt::format("shared by {} vservers, {} names; package {} {}; SHA-256 {}",
                                   guests.size(), stat.nlink - 1, escaped(record.package),
                                   escaped(record.version), hex(record.sha256))};
  }

  // Other guests that have the very inode, by the rows of the scan and by the name of this file.
  std::string one_inode_with(GuestNumber guest, const TypedPath& typed) const {
    if (typed.stat.nlink < 2) return "";
    std::set<GuestNumber> others;
    for (const auto& row : files_.table.rows())
      if (row.ino == typed.stat.ino &&
          pool_.guests()[files_.table.guest(row)].root.stat().dev == typed.stat.dev)
        others.insert(files_.table.guest(row));
    for (GuestNumber other; other < pool_.guests().next_number(); ++other) {
      const auto there = resolve_typed_path(pool_.guests()[other].root, typed.path, LastSymlink::keep);
      if (there && there->stat.ino == typed.stat.ino && there->stat.dev == typed.stat.dev)
        others.insert(other);
    }
    others.erase(guest);
    std::string names;
    for (const GuestNumber other : others) names += (names.empty() ? "" : ", ") + pool_.guests()[other].name;
    return names;
  }

  // No partner: what the file of that name in another guest differs in, of the guest where it is the least.
  Answer alone(GuestNumber guest, const TypedPath& typed, const std::string& package) const {
    if (!one_inode_with(guest, typed).empty()) return answer(Reason::shared_unsealed, package);
    std::vector<std::string> least;
    GuestNumber nearest;
    for (GuestNumber other; other < pool_.guests().next_number(); ++other) {
      if (other == guest) continue;
      const auto there = resolve_typed_path(pool_.guests()[other].root, typed.path, LastSymlink::keep);
      if (!there || !S_ISREG(there->stat.mode)) continue;
      auto differing = differences({pool_.guests()[guest].root, typed.path, typed.stat},
                                   {pool_.guests()[other].root, there->path, there->stat}, pool_.rules());
      if (differing.empty()) differing = {in_record(other, *there)};
      if (!least.empty() && least.size() <= differing.size()) continue;
      least = std::move(differing);
      nearest = other;
    }
    if (least.empty()) return answer(Reason::no_partner, package);
    return answer(Reason::no_partner,
                  fmt::format("{}{}differs from {}'s: {}", package, package.empty() ? "" : "; ",
                              pool_.guests()[nearest].name, fmt::join(least, ", ")));
  }

  // Of a file that is equal: why it is no partner.
  std::string in_record(GuestNumber other, const TypedPath& there) const {
    const auto no = pool_.masters().find(there.stat.ino) ? std::nullopt : by_rule(other, there);
    return no ? "in that it is left alone there (" + no->verdict + ")" : "what its package records";
  }

  Answer in_candidates(GuestNumber guest, const TypedPath& typed, const std::string& package) const {
    const VerifyInput input{pool_.guests(), files_.table,    candidates_,   files_.packages,
                            files_.devices, pool_.masters(), pool_.store(), pool_.rules()};
    const auto is_it = [&](const FileRow& row) {
      return files_.table.guest(row) == guest && files_.table.path(row) == typed.path;
    };
    for (const auto& group : candidates_.groups)
      for (CandidateNumber v = group.begin; v < group.end; ++v)
        for (NameNumber n = candidates_.duplicates[v].begin; n < candidates_.duplicates[v].end; ++n)
          if (is_it(files_.table.rows()[candidates_.names[n]])) {
            const auto found = by_content(input, group, v, package);
            return found ? *found : alone(guest, typed, package);
          }
    const auto& rows = files_.table.rows();
    const auto row = std::find_if(rows.begin(), rows.end(), is_it);
    if (row != rows.end() && row->nlink > 1 && one_inode_with(guest, typed).empty())
      return answer(Reason::linked_elsewhere, fmt::format("{} links", row->nlink));
    return alone(guest, typed, package);
  }

  // Nothing: no other file has its content.
  std::optional<Answer> by_content(const VerifyInput& input, const CandidateGroup& group,
                                   CandidateNumber duplicate, const std::string& package) const {
    const GroupVerdict verdict = GroupVerifier(input).verify(group);
    for (const auto& [v, reason] : verdict.refused)
      if (v == duplicate)
        return reason == Reason::no_partner ? std::nullopt : std::optional(answer(reason, package));
    const auto in = [&](const std::vector<CandidateNumber>& duplicates) {
      return std::find(duplicates.begin(), duplicates.end(), duplicate) != duplicates.end();
    };
    for (const auto& content : verdict.contents) {
      if (in(content.changed)) return answer(Reason::not_pristine, package);
      if (!in(content.duplicates) || (content.duplicates.size() == 1 && !content.master)) continue;
      if (pool_.guard().shares_inodes() && is_of_own_project(input, counted_, content))
        return answer(Reason::own_project, package);
      if (auto shared = by_extents(input, content, duplicate, package)) return shared;
      return Answer{"will_be_unified", fmt::format("equal to {} other files{}; the next run shares it ({})",
                                                   content.duplicates.size() - 1,
                                                   content.master ? " and to an existing master" : "",
                                                   package.empty() ? "scope all" : package)};
    }
    return std::nullopt;
  }

  // Which files of this content share extents with it, as the index knows it: what a run counts as unified.
  std::optional<Answer> by_extents(const VerifyInput& input, const VerifiedContent& content,
                                   CandidateNumber duplicate, const std::string& package) const {
    const auto group_of = [&](CandidateNumber v) {
      const FileRow& row = row_of_duplicate(input, v);
      const auto known = pool_.index().known(files_.devices[files_.table.guest(row)], row);
      return known && known->content == content.content ? known->shared_with : 0;
    };
    if (pool_.guard().shares_inodes() || group_of(duplicate) == 0) return std::nullopt;
    size_t others = 0;
    std::set<GuestNumber> guests;
    for (const CandidateNumber v : content.duplicates) {
      if (group_of(v) != group_of(duplicate)) continue;
      others += v != duplicate;
      guests.insert(files_.table.guest(row_of_duplicate(input, v)));
    }
    if (others == 0) return std::nullopt;
    return Answer{"unified",
                  fmt::format("its extents are shared with those of {} other files, in {} vservers{}", others,
                              guests.size(), package.empty() ? "" : "; " + package)};
  }

  const OpenedPool& pool_;
  GuestFiles files_;
  const TypedBits<GuestNumber> counted_;
  CandidateSet candidates_;
};

Exit explain(const ExplainOptions& options) {
  Command command(options);
  const OpenedPool pool = look_at_pool(take_inventory(options, command.context()), command.context());
  const GuestNumber guest = guest_number(pool.guests(), options.guest);
  Explainer explainer(pool, command.context());
  size_t explained = 0;
  for (const std::string& given : options.paths) {
    const auto typed = resolve_typed_path(pool.guests()[guest].root, given, LastSymlink::keep);
    const Answer found = typed ? explainer.explain(guest, *typed) : nothing(typed.error());
    const std::string& path = typed ? typed->path : given;
    explained += found.found;
    if (!found.found)
      command.context().log.object_failed(
          fmt::format("{}:{}: {}: {}", options.guest, escaped(path), found.verdict, found.detail));
    if (options.json)
      command.line({{"type", "explanation"},
                    {"guest", options.guest},
                    {"path", escaped(path)},
                    {"verdict", found.verdict},
                    {"detail", found.detail}});
    else if (found.found)
      fmt::print("{}:{}: {}: {}\n", options.guest, escaped(path), found.verdict, found.detail);
  }
  if (explained == 0) return Exit::failed;
  return command.exit_code();
}

}  // namespace

void add_explain(CommandLine& line) {
  static ExplainOptions options;
  Verb verb = line.verb("explain", "why a file is shared or not");
  add_shared_options(verb, options);
  verb.argument("GUEST", options.guest, "the vserver", true);
  verb.arguments("PATH", options.paths, "paths in it", true);
  verb.footer(
      exit_codes("0 done, 1 failed or there is no such file, 2 usage, 3 some of the paths are not there or "
                 "cannot be read",
                 "vunify explain web1 usr/bin/perl"));
  verb.action([] { return explain(options); });
}

}  // namespace vs::unify
