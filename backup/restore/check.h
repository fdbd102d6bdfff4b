// Reads archives back against their catalogs: every frame, every entry, every byte of every file.
//
// What is found is one line a finding, naming the archive, the entry and what is wrong; the rest is checked
// on. Also looked for: references that lead nowhere (a pool member or an archive of a chain that is gone),
// and entries in an archive that no catalog knows.
#pragma once

#include <string>
#include <vector>

#include "backup/restore/finding.h"
#include "backup/restore/stored_backups.h"
#include "core/run_context.h"

namespace vs::backup {

CheckCounts check_set(ArchiveSet& set, const std::vector<std::string>& guests, std::vector<Finding>& findings,
                      RunContext& context);

// Restores the last state of these guests into `scratch` (which must not exist; it is removed again) and
// compares with the catalogs what a restore is to give back, bytes apart: those were compared while they were
// written.
CheckCounts rehearse(StoredBackups& backups, const std::vector<std::string>& guests,
                     const std::string& scratch, std::vector<Finding>& findings, RunContext& context);

}  // namespace vs::backup
