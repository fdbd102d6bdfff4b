// Stopping the processes of one guest for a moment, so that its files hold still.
//
// The runtime of vservers (isolation/) knows how and implements this; without it nothing can be frozen. Both wings know only this header.
#pragma once

#include <memory>
#include <string>

#include "core/error.h"

namespace vs {

// While one lives the guest is frozen; its destructor thaws, whatever happened. Freezing what has no processes succeeds.
class FrozenGuest {
 public:
  virtual ~FrozenGuest() = default;
};

class GuestFreezer {
 public:
  virtual ~GuestFreezer() = default;
  // Returns when every process of the guest stands still. ENOTSUP in the Problem: this guest cannot be frozen.
  virtual Expected<std::unique_ptr<FrozenGuest>> freeze(const std::string& guest) = 0;
};

}  // namespace vs
