// The devices of a guest, as a BPF program on its cgroup.
#pragma once

#include "core/error.h"

namespace vs::isolation {

// Only null, zero, full, random, urandom, tty, ptmx and pseudo terminals can be made or opened in this open
// cgroup (v2).
Result allow_harmless_devices(int cgroup);

}  // namespace vs::isolation
