// What the verbs that change a set have in common.
#pragma once

#include <optional>

#include "backup/archive/archive_set.h"
#include "backup/restore/stored_backups.h"

namespace vs::backup {

// The one archive that NAME@TIME is for certain: "the last one before", as for a restore, might be another
// than the one that was meant. Throws Error(Exit::usage) if there is none, or more than one.
Archive the_one(const ArchiveSet& set, const Selection& selection);

// The lock of a set that is to be changed; a lost vbackup.set is written again. None for a dry run: what only
// looks can do so on read-only media.
std::optional<HostLock> lock_to_change(ArchiveSet& set, bool dry_run);

}  // namespace vs::backup
