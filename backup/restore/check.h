// Reads archives back against their catalogs: every frame, every entry, every byte of every file.
//
// What is found is one line a finding, naming the archive, the entry and what is wrong; the rest is checked
// on. Also looked for: references that lead nowhere (a pool member or an archive of a chain that is gone),
// and entries in an archive that no catalog knows.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "backup/restore/finding.h"
#include "backup/restore/stored_backups.h"
#include "core/run_context.h"

namespace vs::backup {

// Of which archives the bytes are read; catalogs and references are always compared.
class DataPart {
 public:
  DataPart() = default;  // of all
  // "2/7": of each seventh archive, the second of these sevenths, by their names, so that seven checks read
  // all. "10%": of so many, drawn anew each time, that they have this much of the bytes. Throws
  // Error(Exit::usage) for what is neither.
  explicit DataPart(const std::string& text);
  // The names of those among `archives`.
  std::set<std::string> choose(const std::vector<Archive>& archives) const;

 private:
  uint64_t part_ = 1, parts_ = 1;
  std::optional<uint64_t> percent_;
};

CheckCounts check_set(ArchiveSet& set, const std::vector<std::string>& guests, const DataPart& data,
                      std::vector<Finding>& findings, RunContext& context);

// The same for one self-contained archive.
CheckCounts check_single(StoredBackups& backups, std::vector<Finding>& findings, RunContext& context);

// Restores the last state of these guests into `scratch` (which must not exist; it is removed again) and
// compares with the catalogs what a restore is to give back, bytes apart: those were compared while they were
// written.
CheckCounts rehearse(StoredBackups& backups, const std::vector<std::string>& guests,
                     const std::string& scratch, std::vector<Finding>& findings, RunContext& context);

}  // namespace vs::backup
