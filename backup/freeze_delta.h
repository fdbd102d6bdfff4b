// The second step of the consistency ladder: after a live pass each guest is stopped for as long as it takes to archive what changed since.
//
// The live pass made an archive of the running guest; the index knows all that held still. With the guest frozen, one more incremental is made of it alone: its
// names are walked again, what changed is read, the guest runs on. That archive's state is what the guest's files were in one moment (consistency
// "frozen"). What the guest's programs hold in memory only is not in it: it is like after a power cut.
//
// A guest that cannot be frozen keeps its live archive, and the result says why. Nobody stays frozen: FrozenGuest thaws in its destructor.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "backup/backup.h"
#include "core/guest_freezer.h"

namespace vs::backup {

struct FrozenResult {
  std::string guest;
  bool frozen = false;
  std::string why_not;
  double seconds = 0;  // for which it stood still
  CreateResult result;
};

struct OpenedTargets {
  std::vector<std::unique_ptr<Target>> targets;
  std::string last_stamp;
};

// `trees`: name and directory. `open_targets` opens them anew for each guest (their locks were given back).
std::vector<FrozenResult> freeze_delta(const std::vector<std::pair<std::string, std::string>>& trees, const std::function<OpenedTargets()>& open_targets, GuestFreezer& freezer, CreateOptions options,
                                       RunContext& context);

}  // namespace vs::backup
