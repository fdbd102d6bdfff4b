// dpkg's database in a guest's tree: var/lib/dpkg. Finds and opens the files; dpkg_text.h reads what is in
// them.
#pragma once

#include "core/tree/root_dir.h"
#include "unify/packages/package_index.h"
#include "unify/packages/trouble_log.h"

namespace vs::unify {

// False when the guest has no dpkg database. libdpkg is not used: a volatile API with longjmp error paths and
// process-wide state, that takes locks in the guest.
bool read_dpkg(const RootDir& root, PackageIndexBuilder& builder, TroubleLog& log);

}  // namespace vs::unify
