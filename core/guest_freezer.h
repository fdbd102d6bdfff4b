// Stopping the processes of one guest for a moment, so that its files hold still.
//
// Whose processes they are is told by what they have for a root directory (the guest's, or one inside of it),
// not by how they were started: vservers, systemd-nspawn, LXC and plain chroots are found alike. What is
// frozen is their cgroup (version 2): for a vserver its own, else the deepest that holds all of them. A guest
// whose processes are spread over the host's cgroups, or share theirs with a process of the host, cannot be
// frozen, and nothing of the host ever is.
#pragma once

#include <chrono>
#include <memory>

#include "core/error.h"
#include "core/tree/inventory.h"

namespace vs {

// While one lives the guest is frozen; its destructor thaws, whatever happened. So does a small process of
// its own when ours dies (kill -9) or the guest has stood still for longer than was asked for.
class FrozenGuest {
 public:
  virtual ~FrozenGuest() = default;
  virtual bool holds_still() const = 0;  // nobody thawed it meanwhile
};

class GuestFreezer {
 public:
  virtual ~GuestFreezer() = default;
  // Whether freeze() would be tried, without stopping anybody. Fails as freeze() does with ESRCH and ENOTSUP.
  virtual Result can_freeze(const Guest& guest) = 0;
  // Returns when every process of the guest stands still; fails with ETIMEDOUT if that takes longer than
  // `limit`, after which it is thawed in any case. ESRCH: it does not run. ENOTSUP: it cannot be frozen (or
  // whether it runs cannot be seen); the message says why.
  virtual Expected<std::unique_ptr<FrozenGuest>> freeze(const Guest& guest,
                                                        std::chrono::milliseconds limit) = 0;
};

// Throws Error where no cgroup hierarchy of version 2 is mounted.
std::unique_ptr<GuestFreezer> make_cgroup_freezer();

}  // namespace vs
