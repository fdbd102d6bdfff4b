// The second step of the consistency ladder: after a live pass each guest that runs is stopped for as long as
// it takes to read what changed since.
//
// The live pass made an archive of the running guest; the index knows all that held still. With the guest
// frozen, one more incremental is made of it alone: its names are walked again, what changed is read, the
// guest runs on (compressing and syncing the archive is done when it does). That archive's state is what the
// guest's files were in one moment (consistency "frozen"). What the guest's programs hold in memory only is
// not in it: it is like after a power cut.
//
// A guest that cannot be frozen, or stood still for the whole budget and was not read by then, keeps its live
// archive, and the result says why. Nobody stays frozen: core/guest_freezer.h.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "backup/backup.h"
#include "core/guest_freezer.h"

namespace vs::backup {

struct FrozenResult {
  std::string guest;
  bool frozen = false;  // there is an archive of it as it stood still
  bool running = true;  // false: there was nothing to freeze
  std::string why_not;
  bool target_left_out = false;  // one could not be opened
  double seconds = 0;            // for which it stood still
  CreateResult result;
};

struct OpenedTargets {
  std::vector<std::unique_ptr<Target>> targets;
  std::string last_stamp;  // of this guest
  uint64_t left_out = 0;   // that could not be opened; each was named
};

struct FreezeOptions {
  std::chrono::milliseconds budget{10'000};  // longest time a guest may stand still
  // Opens the targets anew for each guest: their locks were given back.
  std::function<OpenedTargets(const std::string& guest)> open_targets;
};

// `trees`: name and directory.
std::vector<FrozenResult> freeze_delta(const std::vector<std::pair<std::string, std::string>>& trees,
                                       const FreezeOptions& freeze, GuestFreezer& freezer,
                                       CreateOptions options, RunContext& context);

}  // namespace vs::backup
