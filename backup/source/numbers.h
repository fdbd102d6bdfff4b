// The numbers of what a scanned host holds, each a type of its own (core/typed_number.h). A guest's is
// GuestNumber (core/tree/inventory.h), a name's NameNumber (name_table.h).
#pragma once

#include "core/typed_table.h"

namespace vs::backup {

using InodeNumber = TypedNumber<struct InodeTag>;  // in ScannedHost::inodes, and what else is kept by inode
using DirNumber = TypedNumber<struct DirNodeTag>;  // in ScannedHost::dirs

inline constexpr InodeNumber kNoInode{~0u};
inline constexpr DirNumber kNoDir{~0u};

}  // namespace vs::backup
