// The programs that tie a cgroup to its addresses on the host's own network stack: bind, connect and send are rewritten for comfort, and a filter on
// every packet's local address is the lock, since raw sockets and listen() without bind pass the first ones.
//
// The instructions are made here, with the addresses in them as constants: no map to look up, no compiler for BPF, no file to load. Attached to
// a cgroup they live exactly as long as it does, and a guest has no capability to detach them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "isolation/bind_address.h"

namespace vs::isolation {

struct AddressRules {
  std::vector<BindAddress> addresses;
  // The loopback address of its own, in 127/8, in host order; what is 127.0.0.1 inside. 0: the host's loopback is used, as chbind always did.
  uint32_t loopback = 0;
};

// One for each context: 127.A.B.1 with A.B the number.
uint32_t loopback_of_context(unsigned number);

// Attaches all programs to this open cgroup (v2). Problem with the name of the program that the kernel refused.
Result tie_to_addresses(int cgroup, const AddressRules& rules);
// Only null, zero, full, random, urandom, tty, ptmx and pseudo terminals can be made or opened in this cgroup.
Result allow_harmless_devices(int cgroup);

}  // namespace vs::isolation
