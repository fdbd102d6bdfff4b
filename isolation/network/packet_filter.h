// The lock on a guest's addresses: no packet leaves or enters its sockets by another local address. It holds
// for raw sockets and for listen() without bind, which no other hook sees.
#pragma once

#include "core/error.h"
#include "isolation/network/address_rules.h"

namespace vs::isolation {

// Attaches the filter of both directions to this open cgroup (v2).
Result lock_to_addresses(int cgroup, const AddressRules& rules);

}  // namespace vs::isolation
