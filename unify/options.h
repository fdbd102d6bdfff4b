// What the shared flags of vunify say.
#pragma once

#include <string>
#include <vector>

#include "core/command_frame.h"
#include "core/tree/inventory.h"
#include "unify/plan/eligibility.h"

namespace vs::unify {

struct Options : FrameOptions {
  std::vector<std::string> trees, excludes, guests;
  std::string state = "/var/lib/vservers/unify", store, pool;
  std::string guard = "auto", scope = "packages", mtime = "exact";
  uint64_t min_size = 1, max_read = uint64_t{1} << 40, max_runtime = 0;
  uint64_t keep_runs = 400;  // a year of nights, and some
  bool no_default_excludes = false, dry_run = false, each_pool = false, no_freeze = false;
};

void add_shared_options(Verb& verb, Options& options);
Rules rules_of(const Options& options);  // throws Error(Exit::usage) for a bad value
InventoryOptions inventory_of(const Options& options);

}  // namespace vs::unify
