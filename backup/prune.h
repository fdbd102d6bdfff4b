// Removing archives: what was forgotten, and pool archives that nothing refers to any more.
//
// The order keeps every state that is listed restorable at every moment, a kill included: newest of a chain first, an archive before its catalog (a
// catalog without its archive is swept), a pool archive only after no catalog that is left refers to one of its members.
#pragma once

#include <string>
#include <vector>

#include "backup/archive_set.h"
#include "core/run_context.h"

namespace vs::backup {

// Removes these archives of a set (the lock is held).
void remove_archives(const ArchiveSet& set, std::vector<Archive> archives);

// Pool archives without a member that any catalog refers to. Throws if a catalog cannot be read: then nobody knows.
std::vector<Archive> unused_pool_archives(const ArchiveSet& set);

}  // namespace vs::backup
