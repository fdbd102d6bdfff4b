// The programs that tie a cgroup to its addresses on the host's own network stack: bind, connect and send are
// rewritten for comfort, and a filter on every packet's local address is the lock, since raw sockets and
// listen() without bind pass the first ones.
//
// The instructions are made here, with the addresses in them as constants: no map to look up, no compiler for
// BPF, no file to load. Attached to a cgroup they live exactly as long as it does, and a guest has no
// capability to detach them.
#pragma once

#include <cstdint>

#include "core/error.h"
#include "isolation/network/address_rules.h"

namespace vs::isolation {

// Attaches all programs to this open cgroup (v2). Problem with the name of the program that the kernel
// refused.
Result tie_to_addresses(int cgroup, const AddressRules& rules);

// For a cgroup that is not tied: nothing but its `low_ports_for`.
Result allow_low_ports(int cgroup, uint32_t user);

}  // namespace vs::isolation
