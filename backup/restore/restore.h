// Gives back guests, directories or files as they were, beneath one target directory.
//
// What is read is not trusted: names and attributes come from catalogs, bytes from archives, and both may
// come from an attacker. So nothing is ever resolved by path from "/": every directory is opened beneath the
// target's descriptor without following symlinks (RootDir), every file is created with O_EXCL|O_NOFOLLOW in a
// directory that this run made, names with '/' or ".." do not get through the catalog's parser, hard links
// are made between names that this run made, and what a file may hold is bounded by what the catalog says of
// it. Devices are created as they were, for that is what a guest's backup is; --no-devices leaves them out.
//
// restore.cc shows the passes in their order: directories (0700), objects with their bytes, owners, modes and
// attributes, further names, directories' owners and times, deepest first, and inode flags last, per inode,
// because an immutable inode takes no link and an immutable directory no name.
//
// All of it is made in a hidden directory of the target; a vserver has its name when all of it is there
// (restore_place.h), also after a kill and a rerun.
//
// Bytes are compared with the digest of the catalog while they are written. A file whose bytes are damaged is
// not left behind; it is named.
#pragma once

#include <vector>

#include "backup/restore/restore_options.h"
#include "backup/restore/stored_backups.h"
#include "core/run_context.h"

namespace vs::backup {

RestoreCounts restore(StoredBackups& backups, const std::vector<Selection>& selections,
                      const RestoreOptions& options, RunContext& context);

}  // namespace vs::backup
