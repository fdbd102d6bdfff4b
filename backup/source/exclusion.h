// What people leave out of a backup.
#pragma once

#include <string>
#include <vector>

#include "backup/source/path_globs.h"

namespace vs::backup {

struct Exclusion {
  PathGlobs globs;
  // Of a directory in which one of these names is, nothing but that name is stored.
  std::vector<std::string> if_present;
  // The same for caches, which say so themselves in a file CACHEDIR.TAG (bford.info/cachedir).
  bool caches = false;
};

// The name in the open directory `dir` by which what else is in it is left out; nullptr if there is none.
// Looks at no file but CACHEDIR.TAG, and follows no link.
const char* tag_in(int dir, const Exclusion& exclusion);

}  // namespace vs::backup
