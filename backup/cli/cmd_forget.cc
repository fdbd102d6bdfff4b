#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "backup/archive/host_tree.h"
#include "backup/cli/command.h"
#include "backup/cli/keep_rules.h"
#include "backup/cli/named_archive.h"
#include "backup/restore/stored_backups.h"
#include "core/escape.h"
#include "core/size_text.h"

namespace vs::backup {
namespace {

struct PruneFlags : Options {
  KeepRules rules;
};

struct ForgetFlags : PruneFlags {
  bool prune = false, even_newest = false;
};

// What forget takes by name, and nothing but that.
Verdict named(const ArchiveSet& set, const Selection& selection, bool even_newest) {
  const Archive found = the_one(set, selection);
  const auto history = set.history(selection.guest);
  const std::string guest = escaped(selection.guest);
  if (found.is_protected)
    throw Error(
        fmt::format("{} of {} is protected; vbackup protect --off ends that", found.header.stamp, guest),
        Exit::usage);
  if (found.name == history.back().name && !even_newest)
    throw Error(fmt::format("{} is the newest backup of {}, which stays but with --even-newest",
                            found.header.stamp, guest),
                Exit::usage);
  for (const auto& other : history)
    if (other.header.chain == found.header.chain && other.header.number > found.header.number)
      throw Error(fmt::format("{} of {} is needed by {}; forget the newer ones first", found.header.stamp,
                              guest, other.header.stamp),
                  Exit::usage);
  return {found, false, ""};
}

// What is to be kept and what is to go, by the names given and by the rules.
std::vector<Verdict> decide(const ForgetFlags& options, const ArchiveSet& set) {
  std::vector<Verdict> verdicts;
  bool times = false;
  std::vector<std::string> guests;
  for (const auto& text : options.guests) {
    const Selection selection = parse_selection(text, set.guests(), set.path());
    if (!selection.path.empty() || is_host_tree(selection.guest))
      throw Error("forget takes NAME or NAME@TIME, not a path", Exit::usage);
    if (!selection.time) {
      guests.push_back(selection.guest);
      continue;
    }
    times = true;
    verdicts.push_back(named(set, selection, options.even_newest));
  }
  if (times && guests.empty()) return verdicts;
  const Retention keep = options.rules.retention();
  if (keep.empty())
    throw Error("forget what? Say what to keep (--keep-last, --keep-daily, ...) or name NAME@TIME",
                Exit::usage);
  if (guests.empty()) return verdicts_of(set, keep);
  for (const auto& guest : guests)
    for (auto& verdict : apply_retention(set.history(guest), keep)) verdicts.push_back(std::move(verdict));
  return verdicts;
}

PruneCounts remove(const ForgetFlags& options, ArchiveSet& set, const std::vector<Verdict>& verdicts,
                   RunContext& context) {
  if (options.dry_run) return {};
  remove_verdicts(set, verdicts);
  return options.prune ? prune_after(set, options.rules.most_dead, context) : PruneCounts{};
}

Exit forget(ForgetFlags& options) {
  Command command(options);
  ArchiveSet set(only_set(options));
  const auto lock = lock_to_change(set, options.dry_run);
  const std::vector<Verdict> verdicts = decide(options, set);
  uint64_t gone = 0, bytes = 0;
  for (const auto& verdict : verdicts) {
    print_verdict(command, verdict);
    if (verdict.keep) continue;
    ++gone;
    bytes += verdict.archive.size;
  }
  const PruneCounts pool = remove(options, set, verdicts, command.context());
  bytes += pool.bytes_freed;
  return command.finish("forget",
                        {{"kept", verdicts.size() - gone},
                         {"removed", gone},
                         {"pool_archives_removed", pool.removed},
                         {"pool_archives_rewritten", pool.rewritten},
                         {"bytes_freed", bytes},
                         {"dry_run", options.dry_run}},
                        fmt::format("{} kept, {} {} ({})", verdicts.size() - gone, gone + pool.removed,
                                    options.dry_run ? "would be removed" : "removed", size_text(bytes)));
}

Exit prune(PruneFlags& options) {
  Command command(options);
  ArchiveSet set(only_set(options));
  const auto lock = lock_to_change(set, options.dry_run);
  const size_t swept = options.dry_run ? 0 : set.sweep();  // of what no archive of the set is
  const PrunePlan plan = plan_prune(set, options.rules.most_dead);
  for (const auto& pool : plan.unused)
    command.note(fmt::format("remove   {}  {}", pool.name, size_text(pool.size)));
  for (const auto& pool : plan.sparse)
    command.note(fmt::format("rewrite  {}  {}", pool.name, size_text(pool.size)));
  PruneCounts counts;
  if (!options.dry_run) counts = prune_pool(set, plan, command.context());
  return command.finish(
      "prune",
      {{"pool_archives_removed", counts.removed},
       {"pool_archives_rewritten", counts.rewritten},
       {"leftovers_removed", swept},
       {"bytes_freed", counts.bytes_freed},
       {"dry_run", options.dry_run}},
      options.dry_run
          ? fmt::format("{} pool archives would be removed, {} written again without what is dead",
                        plan.unused.size(), plan.sparse.size())
          : fmt::format("{} pool archives removed, {} written again ({} freed), {} leftovers of killed runs",
                        counts.removed, counts.rewritten, size_text(counts.bytes_freed), swept));
}

}  // namespace

void add_forget(CommandLine& line) {
  static ForgetFlags options;
  Verb verb = line.verb("forget", "remove old backups by rules, never one that a kept one needs");
  add_set_option(verb, options);
  add_keep_rules(verb, options.rules);
  verb.flag("--even-newest", options.even_newest, "NAME@TIME may be the newest backup of its vserver");
  verb.flag("--prune", options.prune, "then prune");
  verb.flag("-n,--dry-run", options.dry_run, "say what would be removed");
  add_frame_options(verb, options);
  verb.arguments("NAME[@TIME]", options.guests,
                 "vservers to which the rules apply [all], or single backups: TIME (UTC) is a stamp, or a "
                 "day, hour or minute of which there is one",
                 false);
  verb.footer(
      exit_codes("0 done, 1 failed, 2 usage, 11 another run holds the set",
                 "vbackup forget --to archive:/backup/vservers --keep-daily 14 --keep-monthly 12 --dry-run"));
  verb.action([] { return forget(options); });
}

void add_prune(CommandLine& line) {
  static PruneFlags options;
  Verb verb =
      line.verb("prune", "remove what nothing refers to any more from the pool, and what killed runs left");
  add_set_option(verb, options);
  add_most_dead(verb, options.rules);
  verb.flag("-n,--dry-run", options.dry_run, "say what would be removed");
  add_frame_options(verb, options);
  verb.footer(
      exit_codes("0 done, 1 failed (nothing was removed), 2 usage, 3 a damaged pool archive stayed as it is, "
                 "11 another run holds the set",
                 "vbackup prune --to archive:/backup/vservers --dry-run"));
  verb.action([] { return prune(options); });
}

}  // namespace vs::backup
