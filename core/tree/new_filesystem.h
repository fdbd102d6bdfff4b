// A filesystem mounted where nobody but this process can reach it: an instance made by fsopen(2), attached
// nowhere.
#pragma once

#include <utility>
#include <vector>

#include "core/error.h"
#include "core/unique_fd.h"

namespace vs {

using MountParameters = std::vector<std::pair<const char*, const char*>>;  // nullptr for the value of a flag

// Its root. It is unmounted when the last descriptor of it is closed, however the process ended, unless it
// was attached by move_mount(2). `attributes`: MOUNT_ATTR_*.
Expected<UniqueFd> new_filesystem(const char* type, const MountParameters& parameters, unsigned attributes);

}  // namespace vs
