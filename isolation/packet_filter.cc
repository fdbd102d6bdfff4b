#include "isolation/packet_filter.h"

#include <linux/bpf.h>

#include <cstddef>
#include <utility>

#include "isolation/address_code.h"

namespace vs::isolation {
namespace {

// Copies `size` bytes at `offset` of the packet's network header to the stack; goes to "drop" where it is shorter.
void load_bytes(BpfProgram& program, int32_t offset, int32_t size) {
  program.move(BPF_REG_1, kContext);
  program.set(BPF_REG_2, offset);
  program.move(BPF_REG_3, BPF_REG_10);
  program.add_constant(BPF_REG_3, kStack);
  program.set(BPF_REG_4, size);
  program.call(BPF_FUNC_skb_load_bytes);
  program.if_not_equal(BPF_REG_0, 0, "drop");
}

// Source and destination are on the stack. What goes out to a loopback address goes to the guest's own.
void look_at_ip4(BpfProgram& program, const AddressLists& lists, bool egress) {
  load_bytes(program, 12, 8);
  if (egress && lists.loopback != 0) {
    program.load32(kAddress, BPF_REG_10, kStack + 4);
    program.if_equal(kAddress, lists.loopback, "local4");
    program.and32(kAddress, kMask8);
    program.if_equal(kAddress, kNet127, "drop");
    program.label("local4");
  }
  program.load32(kAddress, BPF_REG_10, static_cast<int16_t>(egress ? kStack : kStack + 4));
  if_ours4(program, lists, kAddress, "pass");
  if (!egress) {  // broadcast and multicast, for who asked for them
    program.move(kScratch, kAddress);
    program.and32(kScratch, net(0xf0000000));
    program.if_equal(kScratch, net(0xe0000000), "pass");
  }
}

void look_at_ip6(BpfProgram& program, const AddressLists& lists, bool egress) {
  load_bytes(program, 8, 32);
  if (egress && !lists.loopback6.empty()) {
    if_equal6(program, lists.loopback6.front(), BPF_REG_10, kStack + 16, "local6");
    if_loopback_net6(program, BPF_REG_10, kStack + 16, "drop");
    program.label("local6");
  }
  if_ours6(program, lists, BPF_REG_10, static_cast<int16_t>(egress ? kStack : kStack + 16), "pass");
}

// In a network of its own all of its loopback is its own, and link-local addresses are what the kernel made of its interfaces.
void let_own_network_pass(BpfProgram& program, bool six, bool egress) {
  const auto local = static_cast<int16_t>(egress ? kStack : kStack + (six ? 16 : 4));
  program.load32(kAddress, BPF_REG_10, local);
  if (!six) {
    program.and32(kAddress, kMask8);
    program.if_equal(kAddress, kNet127, "pass");
    return;
  }
  if_equal6(program, kOne6, BPF_REG_10, local, "pass");
  program.and32(kAddress, net(0xffc00000));
  program.if_equal(kAddress, net(0xfe800000), "pass");
}

// The local address (source going out, destination coming in) must be one of ours.
BpfProgram packet_filter(const AddressLists& lists, bool own_network, bool egress) {
  BpfProgram program;
  begin(program);
  program.load32(kScratch, kContext, offsetof(__sk_buff, protocol));
  program.if_equal(kScratch, htons(0x0800), "ip4");
  program.if_equal(kScratch, htons(0x86dd), "ip6");
  program.jump("drop");
  program.label("ip4");
  look_at_ip4(program, lists, egress);
  if (own_network) let_own_network_pass(program, false, egress);
  program.jump("drop");
  program.label("ip6");
  look_at_ip6(program, lists, egress);
  if (own_network) let_own_network_pass(program, true, egress);
  program.label("drop");
  program.leave_with(0);
  program.label("pass");
  program.leave_with(1);
  return program;
}

}  // namespace

Result lock_to_addresses(int cgroup, const AddressRules& rules) {
  const AddressLists lists = lists_of(rules);
  for (const bool egress : {true, false})
    if (auto done = load_and_attach(cgroup, packet_filter(lists, rules.own_network, egress), BPF_PROG_TYPE_CGROUP_SKB, egress ? BPF_CGROUP_INET_EGRESS : BPF_CGROUP_INET_INGRESS,
                                    egress ? "vs_egress" : "vs_ingress"); !done)
      return done;
  return Ok{};
}

}  // namespace vs::isolation
