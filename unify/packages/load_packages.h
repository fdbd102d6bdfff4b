// Reads the package databases of one guest, whichever it has, into one index.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/tree/root_dir.h"
#include "unify/packages/package_index.h"
#include "unify/packages/trouble_log.h"

namespace vs::unify {

// Reads all databases found in the guest. Never throws for what the guest contains; a database that cannot be
// used as a whole (unknown format, garbage, unreadable, ...) is reported in `troubles`, contributes nothing
// and makes the index unknown(); a bad entry is reported and left out. Nothing in the guest is opened but
// regular files below those database places. `cache_dir`, if any: host-only directory (made if only it
// is missing) where the result of an rpm database is kept, keyed by the content of the database, so that an
// unchanged one is not parsed again. Private copies are made there as well, else in /tmp.
PackageIndex load_packages(const RootDir& root, const std::optional<std::string>& cache_dir,
                           std::vector<PackageTrouble>& troubles);

}  // namespace vs::unify
