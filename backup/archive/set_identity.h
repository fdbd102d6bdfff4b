// vbackup.set: the file by which a directory is known as an archive set. Format: archive_set.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backup/archive/catalog.h"
#include "core/error.h"

namespace vs::backup {

// What new pool archives and members begin with: larger than any that was ever used, also by what was
// removed since, so that what somebody has a copy of is never mistaken for something else.
struct SetNumbers {
  uint32_t pool = 1;
  uint64_t member = 1;
};

struct SetIdentity {
  std::string id;  // 32 hex digits
  SetNumbers next;
};

// Of a new set.
SetIdentity new_set_identity();

// ENOENT: there is no such file. EBADMSG: there is one, and it says nothing. Throws Error(Exit::usage) for
// one that another version wrote.
Expected<SetIdentity> read_set_identity(int dir, const std::string& path);

// Durable when it returns.
Result write_set_identity(const std::string& path, const SetIdentity& identity);

// What is known of a lost one by the archives that are there. Its numbers leave a gap that nothing can have
// used: what was removed is not known any more. Throws Error(Exit::usage) if they are of several sets.
SetIdentity identity_by_archives(const std::vector<CatalogHeader>& archives, const std::string& path);

}  // namespace vs::backup
