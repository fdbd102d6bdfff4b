// Removing archives: what was forgotten, pool archives that nothing refers to any more, and what is dead in
// those that are in use.
//
// A pool archive most of which is dead is written again without that, under the next number and with the same
// member numbers, so that no catalog has to change. Its bytes are compared with their digests on the way; one
// that is damaged stays as it is. The old one goes when the new one is durable and named. A run that is
// killed in between leaves the members in two archives, any of which will do; the next one finds that the
// older is not needed and removes it.
//
// The order keeps every state that is listed restorable at every moment, a kill included: newest of a chain
// first, an archive before its catalog (a catalog without its archive is swept), a pool archive only after no
// catalog that is left refers to one of its members.
#pragma once

#include <vector>

#include "backup/archive/archive_set.h"
#include "core/run_context.h"

namespace vs::backup {

// Removes these archives of a set (the lock is held).
void remove_archives(const ArchiveSet& set, std::vector<Archive> archives);

struct PrunePlan {
  std::vector<Archive>
      unused;  // without a member that any catalog refers to, or that no newer pool archive has as well
  std::vector<Archive> sparse;  // more of it is dead than was asked for, by bytes
};
// `most_dead`: percent; 100: nothing is written again. Throws if a catalog cannot be read: then nobody knows.
PrunePlan plan_prune(const ArchiveSet& set, uint64_t most_dead);

struct PruneCounts {
  uint64_t removed = 0, rewritten = 0, bytes_freed = 0;
};
// Removes and writes again, in the order above.
PruneCounts prune_pool(ArchiveSet& set, const PrunePlan& plan, RunContext& context);

}  // namespace vs::backup
