#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <set>

#include "core/escape.h"
#include "core/hex.h"
#include "unify/cli/command.h"
#include "unify/plan/verify.h"

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

class Explainer {
 public:
  Explainer(const OpenedPool& pool, RunContext& context)
      : pool_(pool), files_(find_files(pool, {}, context)) {
    candidates_ = find_candidates(files_, pool.rules(), pool.masters());
  }

  // Asks in the order of the passes; the first 'no' is the answer.
  Answer explain(GuestNumber guest, const std::string& path) {
    const RootDir& root = pool_.guests()[guest].root;
    const auto [parent, name] = split_path(path);
    const auto dir =
        root.open_in_root(parent, O_RDONLY | O_DIRECTORY);  // as the guest sees it: bin may be a symlink
    if (!dir) return nothing(dir.error());
    const auto dir_stat = stat_fd(dir->get(), root.host_path(parent));
    const auto stat = stat_at(dir->get(), std::string(name).c_str(), root.host_path(path));
    if (!stat || !dir_stat) return nothing(stat ? dir_stat.error() : stat.error());
    if (!S_ISREG(stat->mode)) return {"not_regular", "it is no regular file; only those are shared"};
    if (const auto master = pool_.masters().find(stat->ino)) return unified(*master, *stat);
    if (excluded(pool_.rules(), path)) return answer(Reason::excluded);
    const PackageIndex& packages = files_.packages[guest];
    if (packages.unknown()) return answer(Reason::unknown_packages);
    const PackageFile* file = packages.find(packages.dir(dir_stat->ino), name);
    if (file != nullptr) {
      if (const auto reason = refuse_record(*file); reason && refuses_in(*reason, pool_.rules().scope))
        return answer(*reason, package_text(packages, *file));
    } else if (pool_.rules().scope == Scope::packages) {
      return answer(Reason::unowned);
    }
    if (lock_like(name)) return answer(Reason::lock_like);
    if (const auto reason = refuse_stat(pool_.rules(), *stat)) return answer(*reason);
    return in_candidates(guest, path, file == nullptr ? "" : package_text(packages, *file));
  }

 private:
  static std::string package_text(const PackageIndex& packages, const PackageFile& file) {
    const Package& package = packages.packages()[file.package];
    return "package " + escaped(package.name) + " " + escaped(package.version);
  }

  Answer unified(MasterNumber master, const FileStat& stat) {
    const MasterRecord& record = pool_.masters()[master];
    std::set<GuestNumber> guests;
    for (const auto& sighting : files_.sightings)
      if (sighting.master == master) guests.insert(sighting.guest);
    return {"unified", fmt::format("shared by {} vservers, {} names; package {} {}; SHA-256 {}",
                                   guests.size(), stat.nlink - 1, escaped(record.package),
                                   escaped(record.version), hex(record.sha256))};
  }

  Answer in_candidates(GuestNumber guest, const std::string& path, const std::string& package) {
    const VerifyInput input{pool_.guests(), files_.table,    candidates_,   files_.packages,
                            files_.devices, pool_.masters(), pool_.store(), pool_.rules()};
    for (const auto& group : candidates_.groups)
      for (CandidateNumber v = group.begin; v < group.end; ++v)
        for (NameNumber n = candidates_.duplicates[v].begin; n < candidates_.duplicates[v].end; ++n) {
          const FileRow& row = files_.table.rows()[candidates_.names[n]];
          if (files_.table.guest(row) == guest && files_.table.path(row) == path)
            return by_content(input, group, v, package);
        }
    const auto& rows = files_.table.rows();
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const FileRow& r) {
      return files_.table.guest(r) == guest && files_.table.path(r) == path;
    });
    if (row != rows.end() && row->nlink > 1)
      return answer(Reason::linked_elsewhere, fmt::format("{} links", row->nlink));
    return answer(Reason::no_partner, package);
  }

  static Answer by_content(const VerifyInput& input, const CandidateGroup& group, CandidateNumber duplicate,
                           const std::string& package) {
    const GroupVerdict verdict = GroupVerifier(input).verify(group);
    for (const auto& [v, reason] : verdict.refused)
      if (v == duplicate) return answer(reason, package);
    const auto in = [&](const std::vector<CandidateNumber>& duplicates) {
      return std::find(duplicates.begin(), duplicates.end(), duplicate) != duplicates.end();
    };
    for (const auto& content : verdict.contents) {
      if (in(content.changed)) return answer(Reason::not_pristine, package);
      if (!in(content.duplicates) || (content.duplicates.size() == 1 && !content.master)) continue;
      return {"will_be_unified",
              fmt::format("equal to {} other files{}; the next run shares it ({})",
                          content.duplicates.size() - 1, content.master ? " and to an existing master" : "",
                          package.empty() ? "scope all" : package)};
    }
    return answer(Reason::no_partner, package);
  }

  const OpenedPool& pool_;
  GuestFiles files_;
  CandidateSet candidates_;
};

Exit explain(const ExplainOptions& options) {
  Command command(options);
  const OpenedPool pool = look_at_pool(take_inventory(options, command.context()), command.context());
  const GuestNumber guest = guest_number(pool.guests(), options.guest);
  Explainer explainer(pool, command.context());
  size_t explained = 0;
  for (std::string path : options.paths) {
    while (path.starts_with('/')) path.erase(0, 1);
    const Answer found = explainer.explain(guest, path);
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
