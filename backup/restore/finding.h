// What a check of stored backups found, and how much it looked at.
#pragma once

#include <cstdint>
#include <string>

namespace vs::backup {

struct Finding {
  std::string kind;    // frame, entry, content, missing, reference, catalog
  std::string object;  // archive, or guest:path
  std::string detail;
};

struct CheckCounts {
  uint64_t archives = 0, archives_read = 0, entries = 0, files = 0, bytes = 0, references = 0;
};

}  // namespace vs::backup
