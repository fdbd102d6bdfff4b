// The programs of bind(2): any address becomes the first of the guest's, the others are refused.
#pragma once

#include <cstdint>

#include "isolation/bpf/bpf_program.h"
#include "isolation/network/address_code.h"

namespace vs::isolation {

BpfProgram bind4(const AddressLists& lists);
BpfProgram bind6(const AddressLists& lists);

// For root of a user namespace: the kernel asks for CAP_NET_BIND_SERVICE over the namespace that the network
// belongs to, which it does not have; a program that ends with this lets it by.
void leave_with_low_ports_for(BpfProgram& program, uint32_t user);

}  // namespace vs::isolation
