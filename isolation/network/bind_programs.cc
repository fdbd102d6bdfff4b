#include "isolation/network/bind_programs.h"

#include <linux/bpf.h>

#include <bit>
#include <cerrno>
#include <cstddef>

namespace vs::isolation {
namespace {

// The IPv4 address at `offset` of the context: any becomes the first of ours, 127.0.0.1 the own loopback,
// ours stays, others are refused.
void bind_ip4(BpfProgram& program, const AddressLists& lists, int16_t offset) {
  program.load32(kAddress, kContext, offset);
  program.if_equal(kAddress, 0, "any4");
  if (lists.loopback != 0) program.if_equal(kAddress, kLoopback4, "loopback4");
  if_ours4(program, lists, kAddress, "allow");
  program.jump("refuse");
  program.label("any4");
  if (!lists.v4.empty()) write_word(program, offset, lists.v4.front());
  program.jump(lists.v4.empty() ? "refuse" : "allow");
  if (lists.loopback != 0) {
    program.label("loopback4");
    write_word(program, offset, lists.loopback);
    program.jump("allow");
  }
}

void finish_bind(BpfProgram& program, const AddressLists& lists) {
  if (lists.low_ports_for == 0) return finish(program, EADDRNOTAVAIL);
  program.label("allow");
  leave_with_low_ports_for(program, lists.low_ports_for);
  program.label("refuse");
  set_retval_and_refuse(program, EADDRNOTAVAIL);
}

// Goes to `label` when the socket is for IPv6 only. No helper tells, so it is read from the kernel's own
// struct: skc_ipv6only of sock_common, the sixth bit after family and state, in every kernel since 3.13. Were
// it elsewhere in another one, a server would listen on the wrong one of the guest's addresses; the packet
// filter does not ask.
void if_ipv6_only(BpfProgram& program, const std::string& label) {
  constexpr int16_t kBits = 19;
  constexpr uint32_t kIpv6Only = std::endian::native == std::endian::little ? 0x20 : 0x04;
  for (const int cast : {BPF_FUNC_skc_to_tcp6_sock, BPF_FUNC_skc_to_udp6_sock}) {
    const std::string other = program.fresh_label();
    program.load64(BPF_REG_1, kContext, offsetof(bpf_sock_addr, sk));
    program.call(cast);
    program.if_null(BPF_REG_0, other);
    program.load8(kScratch, BPF_REG_0, kBits);
    program.and32(kScratch, kIpv6Only);
    program.if_not_equal(kScratch, 0, label);
    program.label(other);
  }
}

// [::] is the first IPv6 address. Where there is none a server for both kinds gets the IPv4 address, one for
// IPv6 only the loopback address: it has nobody to serve, but it starts, and nginx and sshd as Debian
// configures them do not without.
void bind_any6(BpfProgram& program, const AddressLists& lists) {
  if (!lists.v6.empty()) {
    write_words6(program, kUserIp6, lists.v6.front());
    return program.jump("allow");
  }
  if (!lists.loopback6.empty()) {
    if (lists.v4.empty()) return program.jump("loopback6");
    if_ipv6_only(program, "loopback6");
  }
  if (lists.v4.empty()) return program.jump("refuse");
  write_word(program, kUserIp6 + 8, kMapped);
  write_word(program, kUserIp6 + 12, lists.v4.front());
  program.jump("allow");
}

}  // namespace

void leave_with_low_ports_for(BpfProgram& program, uint32_t user) {
  constexpr int kAllowed = 1, kWithoutCapability = 2;
  program.call(BPF_FUNC_get_current_uid_gid);  // the host's ids; the user's in the lower half
  program.if_not_equal(BPF_REG_0, user, "other user");
  program.leave_with(kAllowed | kWithoutCapability);
  program.label("other user");
  program.leave_with(kAllowed);
}

BpfProgram bind4(const AddressLists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  bind_ip4(program, lists, kUserIp4);
  finish_bind(program, lists);
  return program;
}

BpfProgram bind6(const AddressLists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  unless_zero(program, kUserIp6, 4, "not_any");
  bind_any6(program, lists);
  program.label("not_any");
  if (!lists.loopback6.empty()) if_equal6(program, kLoopback6, kContext, kUserIp6, "loopback6");
  if_ours6(program, lists, kContext, kUserIp6, "allow");
  unless_mapped(program, kUserIp6, "refuse");
  bind_ip4(program, lists, kUserIp6 + 12);
  if (!lists.loopback6.empty()) {
    program.label("loopback6");
    write_words6(program, kUserIp6, lists.loopback6.front());
  }
  finish_bind(program, lists);
  return program;
}

}  // namespace vs::isolation
