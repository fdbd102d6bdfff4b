// What the programs of a guest's addresses have in common: the addresses as constants, the comparisons with
// them, how a field of the context is written, and the two ends of a program.
#pragma once

#include <arpa/inet.h>
#include <linux/bpf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "isolation/bpf/bpf_program.h"
#include "isolation/network/address_rules.h"

namespace vs::isolation {

constexpr uint8_t kContext = BPF_REG_6;  // kept over calls of helpers
constexpr uint8_t kAddress = BPF_REG_7;  // IPv4 address in network order
constexpr uint8_t kScratch = BPF_REG_8;
// Fields of the context of all programs but the packet filter.
constexpr int16_t kUserIp4 = offsetof(bpf_sock_addr, user_ip4);
constexpr int16_t kUserIp6 = offsetof(bpf_sock_addr, user_ip6);
constexpr int16_t kSourceIp4 = offsetof(bpf_sock_addr, msg_src_ip4);
constexpr int16_t kSourceIp6 = offsetof(bpf_sock_addr, msg_src_ip6);

constexpr int16_t kStack = -32;  // sockaddr or bytes of a packet on the stack

using Words6 =
    std::array<uint32_t, 4>;  // an IPv6 address as the program sees it when it loads words from memory

inline uint32_t net(uint32_t host_order) {
  return htonl(host_order);
}
const uint32_t kLoopback4 = net(0x7f000001);  // 127.0.0.1
const uint32_t kNet127 = net(0x7f000000);
const uint32_t kMask8 = net(0xff000000);
const Words6 kLoopback6 = {0, 0, 0, net(1)};  // ::1
const uint32_t kMapped = net(0xffff);         // the third word of ::ffff:a.b.c.d

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

// The beginning of a program that ends with finish(). The verifier refuses instructions that nothing leads
// to, and which list is empty decides what leads where: so both ends have a way, one that no socket's family
// takes.
void begin_with_ends(BpfProgram& program);
void set_retval_and_refuse(BpfProgram& program, int error);
// The labels "allow" and "refuse"; a refused call answers `error`.
void finish(BpfProgram& program, int error);
// Goes to `label` unless words 0..2 at the offset are those of ::ffff:a.b.c.d.
void unless_mapped(BpfProgram& program, int16_t offset, const std::string& label);
void unless_zero(BpfProgram& program, int16_t offset, int words, const std::string& label);
void write_word(BpfProgram& program, int16_t offset, uint32_t value);
void write_words6(BpfProgram& program, int16_t offset, const Words6& address);

}  // namespace vs::isolation
