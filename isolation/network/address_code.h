// What the programs of a guest's addresses have in common: the addresses as constants, and the comparisons
// with them.
#pragma once

#include <arpa/inet.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "isolation/bpf/bpf_program.h"
#include "isolation/network/address_programs.h"

namespace vs::isolation {

constexpr uint8_t kContext = BPF_REG_6;  // kept over calls of helpers
constexpr uint8_t kAddress = BPF_REG_7;  // IPv4 address in network order
constexpr uint8_t kScratch = BPF_REG_8;
constexpr int16_t kStack = -32;  // sockaddr or bytes of a packet on the stack

using Words6 =
    std::array<uint32_t, 4>;  // an IPv6 address as the program sees it when it loads words from memory

inline uint32_t net(uint32_t host_order) {
  return htonl(host_order);
}
const uint32_t kOne = net(0x7f000001);
const uint32_t kNet127 = net(0x7f000000);
const uint32_t kMask8 = net(0xff000000);
const Words6 kOne6 = {0, 0, 0, net(1)};

// AddressRules in network order.
struct AddressLists {
  std::vector<uint32_t> v4;
  std::vector<Words6> v6;
  uint32_t loopback = 0;          // 0: none of its own
  std::vector<Words6> loopback6;  // one or none
  uint32_t low_ports_for = 0;
};
AddressLists lists_of(const AddressRules& rules);

inline void begin(BpfProgram& program) {
  program.move(kContext, BPF_REG_1);
}
// Go to `label` when the address in `reg`, or the 16 bytes at `base` + `offset`, are one of the guest's, its
// loopback included. Fall through otherwise.
void if_ours4(BpfProgram& program, const AddressLists& lists, uint8_t reg, const std::string& label);
void if_ours6(BpfProgram& program, const AddressLists& lists, uint8_t base, int16_t offset,
              const std::string& label);
// The same for one address.
void if_equal6(BpfProgram& program, const Words6& address, uint8_t base, int16_t offset,
               const std::string& label);
// For an address in the net of all guests' loopback addresses.
void if_loopback_net6(BpfProgram& program, uint8_t base, int16_t offset, const std::string& label);

}  // namespace vs::isolation
