// What a restore is asked for, and what it made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "backup/source/path_globs.h"

namespace vs::backup {

struct RestoreOptions {
  std::string target;  // an existing directory, or one to be made; guests become TARGET/NAME
  // Of vunify: shared files become links to the masters of this store where they are the same.
  std::optional<std::string> link_store;
  bool devices = true;
  // Paths in a guest, with what is below them: only these (all, if empty), and none of those.
  const PathGlobs* include = nullptr;
  const PathGlobs* exclude = nullptr;
  bool dry_run = false;
};

struct RestoreCounts {
  uint64_t guests = 0, host_trees = 0, directories = 0, files = 0, links = 0, specials = 0, bytes = 0,
           linked_live = 0, damaged = 0;
};

}  // namespace vs::backup
