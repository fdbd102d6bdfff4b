// The files of the host that belong to a guest (source/host_files.h), in its archive: entries
// `.host.NAME/PATH`, and in its catalog the directories of a tree of that name (host_tree.h).
//
// Each archive of a chain has all of them, so what they were at a time is in the one archive of that time.
#pragma once

#include "backup/archive/archive_writer.h"
#include "backup/archive/target.h"

namespace vs::backup {

// Appends those of `guest` and records them as stored in archive `number` of its chain. Nothing for one that
// has none.
void store_host_files(const RunView& run, GuestNumber guest, uint32_t number, int level,
                      ArchiveWriter& writer, Catalog& catalog);

}  // namespace vs::backup
