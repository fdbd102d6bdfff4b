// The rules of what is kept (--keep-*), for `forget` and for the night's `create --forget`.
#pragma once

#include <string>
#include <vector>

#include "backup/archive/retention.h"
#include "backup/cli/command.h"
#include "backup/prune.h"

namespace vs::backup {

struct KeepRules {
  Retention counts;    // without --keep-within
  std::string within;  // as it was given
  uint64_t most_dead = 50;
  // Throws Error(Exit::usage) for a --keep-within that is no time.
  Retention retention() const;
};

void add_most_dead(Verb& verb, KeepRules& rules);
void add_keep_rules(Verb& verb, KeepRules& rules);

void print_verdict(const Command& command, const Verdict& verdict);

// By the rules, for all vservers of a set.
std::vector<Verdict> verdicts_of(const ArchiveSet& set, const Retention& keep);
// Removes what is not to be kept from a set whose lock is held.
void remove_verdicts(const ArchiveSet& set, const std::vector<Verdict>& verdicts);
// Then: what nothing refers to any more.
PruneCounts prune_after(ArchiveSet& set, uint64_t most_dead, RunContext& context);

struct ForgottenCounts {
  uint64_t archives = 0, failed_sets = 0;
};
// After a run, in each of these sets: what the rules do not keep is removed, and pruned. A set in which that
// cannot be done is named and left as it is. Without a rule all stays.
ForgottenCounts forget_by_rules(const std::vector<std::string>& sets, const KeepRules& rules,
                                Command& command);

}  // namespace vs::backup
