// Stopping and letting go on all processes of a cgroup (version 2), and knowing that they do stand still.
#pragma once

#include <chrono>
#include <string>

#include "core/error.h"

namespace vs {

// Mount point of the cgroup hierarchy of version 2; "" where there is none.
std::string cgroup2_mount();
// Below it: vservers/NAME is the cgroup of a vserver, with all that it started.
inline constexpr const char* kGuestCgroups = "/vservers";

// Each takes the path of a cgroup's directory.
//
// Freezes or thaws it and returns when it is so. ETIMEDOUT after `limit`.
Result set_frozen(const std::string& cgroup, bool frozen, std::chrono::milliseconds limit);
// The second half of it alone, for what somebody else freezes or thaws.
Result wait_until_frozen(const std::string& cgroup, bool frozen, std::chrono::milliseconds limit);
// Whether every thread in it and below stands still, looked at cgroup by cgroup.
bool is_frozen(const std::string& cgroup);
// Whether somebody asked for that, for it or for one above.
bool freeze_was_asked(const std::string& cgroup);

}  // namespace vs
