// Which addresses a cgroup's processes may use: what the BPF programs of its network are made from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "isolation/network/bind_address.h"

namespace vs::isolation {

struct AddressRules {
  std::vector<BindAddress> addresses;
  // The loopback address of its own, in 127/8, in host order; what is 127.0.0.1 inside. 0: the host's
  // loopback is used, as chbind always did.
  uint32_t loopback = 0;
  // The same for ::1. Nothing: ::1 is the host's, and refused where `loopback` is set.
  std::optional<BindAddress> loopback6 = std::nullopt;
  // The cgroup's processes have a network namespace of their own: only the lock is needed, and leaves all of
  // its loopback alone.
  bool own_network = false;
  // The host's id of who may bind to ports below 1024 without a capability over the host's network: root of a
  // user namespace. 0: nobody.
  uint32_t low_ports_for = 0;
};

// One for each context: 127.A.B.1 with A.B the number.
uint32_t loopback_of_context(unsigned number);
// One for each vserver, on lo, from its name: known before the context is, and the same at every start.
BindAddress loopback6_of_vserver(const std::string& name);

}  // namespace vs::isolation
