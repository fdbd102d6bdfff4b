// The programs of connect(2) and of sending without it: the source is one of the guest's addresses, and its
// 127.0.0.1 and ::1 are the loopback addresses of its own.
#pragma once

#include "isolation/bpf/bpf_program.h"
#include "isolation/network/address_code.h"

namespace vs::isolation {

BpfProgram connect4(const AddressLists& lists);
BpfProgram connect6(const AddressLists& lists);
BpfProgram sendmsg4(const AddressLists& lists);
BpfProgram sendmsg6(const AddressLists& lists);

}  // namespace vs::isolation
