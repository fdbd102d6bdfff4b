// Freezing a vserver for backup and unify, by its cgroup: they know only core/guest_freezer.h.
#pragma once

#include <memory>

#include "core/guest_freezer.h"
#include "isolation/places.h"

namespace vs::isolation {

// Guests that do not run stand still already. One that somebody froze before stays frozen when its FrozenGuest goes.
std::unique_ptr<GuestFreezer> make_freezer(const Places& places);

}  // namespace vs::isolation
