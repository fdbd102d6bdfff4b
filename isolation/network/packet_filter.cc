#include "isolation/network/packet_filter.h"

#include <linux/bpf.h>

#include <cstddef>

#include "isolation/network/address_code.h"

namespace vs::isolation {
namespace {

constexpr uint8_t kPacket = BPF_REG_9;  // its network header

// The addresses are read where they lie: with a helper that copies them a packet took 25 ns more, of 100. The
// kernel had `size` bytes of the header in one piece before it looked at them itself; a packet of which that
// is not so goes to "drop".
void look_at_header(BpfProgram& program, int32_t size) {
  program.load32(kPacket, kContext, offsetof(__sk_buff, data));
  program.load32(kScratch, kContext, offsetof(__sk_buff, data_end));
  program.move(BPF_REG_1, kPacket);
  program.add_constant(BPF_REG_1, size);
  program.if_above(BPF_REG_1, kScratch, "drop");
}

constexpr int16_t kSource4 = 12, kDestination4 = 16, kSource6 = 8, kDestination6 = 24;

// What goes out to a loopback address goes to the guest's own.
void look_at_ip4(BpfProgram& program, const AddressLists& lists, bool egress) {
  look_at_header(program, 20);
  if (egress && lists.loopback != 0) {
    program.load32(kAddress, kPacket, kDestination4);
    program.if_equal(kAddress, lists.loopback, "local4");
    program.and32(kAddress, kMask8);
    program.if_equal(kAddress, kNet127, "drop");
    program.label("local4");
  }
  program.load32(kAddress, kPacket, egress ? kSource4 : kDestination4);
  if_ours4(program, lists, kAddress, "pass");
  if (!egress) {  // broadcast and multicast, for who asked for them
    program.move(kScratch, kAddress);
    program.and32(kScratch, net(0xf0000000));
    program.if_equal(kScratch, net(0xe0000000), "pass");
  }
}

void look_at_ip6(BpfProgram& program, const AddressLists& lists, bool egress) {
  look_at_header(program, 40);
  if (egress && !lists.loopback6.empty()) {
    if_equal6(program, lists.loopback6.front(), kPacket, kDestination6, "local6");
    if_loopback_net6(program, kPacket, kDestination6, "drop");
    program.label("local6");
  }
  if_ours6(program, lists, kPacket, egress ? kSource6 : kDestination6, "pass");
}

// In a network of its own all of its loopback is its own, and link-local addresses are what the kernel made
// of its interfaces.
void let_own_network_pass(BpfProgram& program, bool six, bool egress) {
  const int16_t local = six ? (egress ? kSource6 : kDestination6) : (egress ? kSource4 : kDestination4);
  program.load32(kAddress, kPacket, local);
  if (!six) {
    program.and32(kAddress, kMask8);
    program.if_equal(kAddress, kNet127, "pass");
    return;
  }
  if_equal6(program, kLoopback6, kPacket, local, "pass");
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
    if (auto done = load_and_attach(
            cgroup, packet_filter(lists, rules.own_network, egress), BPF_PROG_TYPE_CGROUP_SKB,
            egress ? BPF_CGROUP_INET_EGRESS : BPF_CGROUP_INET_INGRESS, egress ? "vs_egress" : "vs_ingress");
        !done)
      return done;
  return Ok{};
}

}  // namespace vs::isolation
