#include "backup/cli/keep_rules.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "backup/cli/named_archive.h"
#include "core/escape.h"

namespace vs::backup {

void add_most_dead(Verb& verb, KeepRules& rules) {
  verb.option("--most-dead", "PERCENT", rules.most_dead,
              "pool archives of which more is dead are written again without that; 100: none [50]");
}

Retention KeepRules::retention() const {
  Retention keep = counts;
  if (!within.empty()) keep.within = parse_span(within);
  return keep;
}

void add_keep_rules(Verb& verb, KeepRules& rules) {
  verb.option("--keep-within", "SPAN", rules.within,
              "all that are not older than this before the newest of a vserver: 90d, 36h, 1y6m");
  verb.option("--keep-last", "N", rules.counts.last, "the last N of each vserver");
  verb.option("--keep-hourly", "N", rules.counts.hourly,
              "the newest of each of the last N hours that have one");
  verb.option("--keep-daily", "N", rules.counts.daily, "days");
  verb.option("--keep-weekly", "N", rules.counts.weekly, "weeks (ISO)");
  verb.option("--keep-monthly", "N", rules.counts.monthly, "months");
  verb.option("--keep-yearly", "N", rules.counts.yearly, "years");
  add_most_dead(verb, rules);
}

void print_verdict(const Command& command, const Verdict& verdict) {
  const auto& [archive, keep, why] = verdict;
  command.note(fmt::format("{:<7} {:<24} {} {:<5}{}", keep ? "keep" : "remove", escaped(archive.header.guest),
                           archive.header.stamp, archive.header.kind, why.empty() ? "" : "  " + why));
  command.line({{"type", "verdict"},
                {"guest", archive.header.guest},
                {"stamp", archive.header.stamp},
                {"keep", keep},
                {"why", why}});
}

std::vector<Verdict> verdicts_of(const ArchiveSet& set, const Retention& keep) {
  std::vector<Verdict> verdicts;
  for (const auto& guest : set.guests())
    for (auto& verdict : apply_retention(set.history(guest), keep)) verdicts.push_back(std::move(verdict));
  return verdicts;
}

void remove_verdicts(const ArchiveSet& set, const std::vector<Verdict>& verdicts) {
  std::vector<Archive> gone;
  for (const auto& verdict : verdicts)
    if (!verdict.keep) gone.push_back(verdict.archive);
  remove_archives(set, gone);
}

PruneCounts prune_after(ArchiveSet& set, uint64_t most_dead, RunContext& context) {
  set.sweep();
  set.reload();
  return prune_pool(set, plan_prune(set, most_dead), context);
}

namespace {

uint64_t forget_in(const std::string& dir, const KeepRules& rules, Command& command) {
  ArchiveSet set(dir);
  const auto lock = lock_to_change(set, false);
  const auto verdicts = verdicts_of(set, rules.retention());
  uint64_t removed = 0;
  for (const auto& verdict : verdicts) {
    if (verdict.keep) continue;
    print_verdict(command, verdict);
    ++removed;
  }
  remove_verdicts(set, verdicts);
  prune_after(set, rules.most_dead, command.context());
  return removed;
}

}  // namespace

ForgottenCounts forget_by_rules(const std::vector<std::string>& sets, const KeepRules& rules,
                                Command& command) {
  ForgottenCounts counts;
  if (rules.retention().empty()) return counts;
  for (const auto& dir : sets) try {
      counts.archives += forget_in(dir, rules, command);
    } catch (const Error& error) {
      if (error.code() == Exit::interrupted) throw;
      command.context().log.object_failed(
          fmt::format("archive:{}: not all that is old could be removed: {}", escaped(dir), error.what()));
      ++counts.failed_sets;
    }
  return counts;
}

}  // namespace vs::backup
