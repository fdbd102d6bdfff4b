#include "isolation/network/address_programs.h"

#include <linux/bpf.h>

#include <bit>
#include <cerrno>
#include <cstddef>

#include "isolation/network/address_code.h"
#include "isolation/network/packet_filter.h"

namespace vs::isolation {
namespace {

constexpr int16_t kUserIp4 = offsetof(bpf_sock_addr, user_ip4);
constexpr int16_t kUserIp6 = offsetof(bpf_sock_addr, user_ip6);
constexpr int16_t kSourceIp4 = offsetof(bpf_sock_addr, msg_src_ip4);
constexpr int16_t kSourceIp6 = offsetof(bpf_sock_addr, msg_src_ip6);
const uint32_t kMapped = net(0xffff);

// For programs with the ends of finish(). The verifier refuses instructions that nothing leads to, and which
// list is empty decides what leads where: so both ends have a way, one that no socket's family takes.
void begin_with_ends(BpfProgram& program) {
  begin(program);
  program.load32(kScratch, kContext, offsetof(bpf_sock_addr, family));
  program.if_equal(kScratch, 0x7ffe, "refuse");
  program.if_equal(kScratch, 0x7fff, "allow");
}

void set_retval_and_refuse(BpfProgram& program, int error) {
  program.set(BPF_REG_1, -error);
  program.call(BPF_FUNC_set_retval);
  program.leave_with(0);
}

// Goes to `label` unless words 0..2 at the offset are those of ::ffff:a.b.c.d.
void unless_mapped(BpfProgram& program, int16_t offset, const std::string& label) {
  const uint32_t expected[] = {0, 0, kMapped};
  for (int i = 0; i < 3; ++i) {
    program.load32(kScratch, kContext, static_cast<int16_t>(offset + 4 * i));
    program.if_not_equal(kScratch, expected[i], label);
  }
}
void unless_zero(BpfProgram& program, int16_t offset, int words, const std::string& label) {
  for (int i = 0; i < words; ++i) {
    program.load32(kScratch, kContext, static_cast<int16_t>(offset + 4 * i));
    program.if_not_equal(kScratch, 0, label);
  }
}

void write_word(BpfProgram& program, int16_t offset, uint32_t value) {
  program.set32(kScratch, value);
  program.store32(kContext, offset, kScratch);
}
void write_words6(BpfProgram& program, int16_t offset, const Words6& address) {
  for (size_t i = 0; i < address.size(); ++i)
    write_word(program, static_cast<int16_t>(offset + 4 * static_cast<int>(i)), address[i]);
}

// --- bind ------------------------------------------------------------------------------------------------

// The IPv4 address at `offset` of the context: any becomes the first of ours, 127.0.0.1 the own loopback,
// ours stays, others are refused.
void bind_ip4(BpfProgram& program, const AddressLists& lists, int16_t offset) {
  program.load32(kAddress, kContext, offset);
  program.if_equal(kAddress, 0, "any4");
  if (lists.loopback != 0) program.if_equal(kAddress, kOne, "loopback4");
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

void finish(BpfProgram& program, int error) {
  program.label("allow");
  program.leave_with(1);
  program.label("refuse");
  set_retval_and_refuse(program, error);
}

// The kernel asks for CAP_NET_BIND_SERVICE over the namespace that the network belongs to, which root of a
// user namespace does not have; this lets it by.
void leave_with_low_ports_for(BpfProgram& program, uint32_t user) {
  constexpr int kAllowed = 1, kWithoutCapability = 2;
  program.call(BPF_FUNC_get_current_uid_gid);  // the host's ids; the user's in the lower half
  program.if_not_equal(BPF_REG_0, user, "other user");
  program.leave_with(kAllowed | kWithoutCapability);
  program.label("other user");
  program.leave_with(kAllowed);
}

void finish_bind(BpfProgram& program, const AddressLists& lists) {
  if (lists.low_ports_for == 0) return finish(program, EADDRNOTAVAIL);
  program.label("allow");
  leave_with_low_ports_for(program, lists.low_ports_for);
  program.label("refuse");
  set_retval_and_refuse(program, EADDRNOTAVAIL);
}

BpfProgram bind4(const AddressLists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  bind_ip4(program, lists, kUserIp4);
  finish_bind(program, lists);
  return program;
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

BpfProgram bind6(const AddressLists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  unless_zero(program, kUserIp6, 4, "not_any");
  bind_any6(program, lists);
  program.label("not_any");
  if (!lists.loopback6.empty()) if_equal6(program, kOne6, kContext, kUserIp6, "loopback6");
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

// --- connect and sendmsg ---------------------------------------------------------------------------------

// bpf_bind(context, the address on the stack). That it fails for a socket that is bound already is right.
void bind_to_stack(BpfProgram& program, size_t size) {
  program.move(BPF_REG_1, kContext);
  program.move(BPF_REG_2, BPF_REG_10);
  program.add_constant(BPF_REG_2, kStack);
  program.set(BPF_REG_3, static_cast<int32_t>(size));
  program.call(BPF_FUNC_bind);
}

// With port 0, as below: the kernel chooses.
void bind_source4(BpfProgram& program, uint32_t source) {
  program.store32_constant(BPF_REG_10, kStack, AF_INET);
  program.store32_constant(BPF_REG_10, kStack + 4, source);
  program.store32_constant(BPF_REG_10, kStack + 8, 0);
  program.store32_constant(BPF_REG_10, kStack + 12, 0);
  bind_to_stack(program, sizeof(sockaddr_in));
}

void bind_source6(BpfProgram& program, const Words6& source) {
  program.store32_constant(BPF_REG_10, kStack, AF_INET6);
  program.store32_constant(BPF_REG_10, kStack + 4, 0);
  for (int i = 0; i < 4; ++i)
    program.store32_constant(BPF_REG_10, static_cast<int16_t>(kStack + 8 + 4 * i),
                             source[static_cast<size_t>(i)]);
  program.store32_constant(BPF_REG_10, kStack + 24, 0);
  bind_to_stack(program, sizeof(sockaddr_in6));
}

// Of an IPv6 socket that speaks IPv4.
void bind_mapped_source(BpfProgram& program, uint32_t source) {
  bind_source6(program, {0, 0, kMapped, source});
}

// Destination 127.0.0.1 becomes the own loopback, the rest of 127/8 but that is refused; the address is in
// kAddress. Goes to "loop" or falls through.
void look_at_loopback(BpfProgram& program, const AddressLists& lists) {
  if (lists.loopback == 0) return;
  program.if_equal(kAddress, kOne, "loop");
  program.if_equal(kAddress, lists.loopback, "loop");
  program.move(kScratch, kAddress);
  program.and32(kScratch, kMask8);
  program.if_equal(kScratch, kNet127, "refuse");
  program.if_equal(kAddress, 0, "loop");  // connecting to 0.0.0.0 means the local host
}

// The same for ::1 and the other guests' loopback addresses. Goes to "loop6", to "refuse", or falls through.
void look_at_loopback6(BpfProgram& program, const AddressLists& lists) {
  if (lists.loopback == 0) return;
  const std::string one =
      lists.loopback6.empty() ? "refuse" : "loop6";  // without one of its own: ::1 is the host's
  if_equal6(program, kOne6, kContext, kUserIp6, one);
  if_equal6(program, {0, 0, 0, 0}, kContext, kUserIp6, one);
  for (const auto& own : lists.loopback6) if_equal6(program, own, kContext, kUserIp6, "loop6");
  if_loopback_net6(program, kContext, kUserIp6, "refuse");
}

// The IPv4 destination at `offset` of the context, by a socket whose source is set by `bind_source`. Does not
// fall through.
void connect_ip4(BpfProgram& program, const AddressLists& lists, int16_t offset,
                 void (*bind_source)(BpfProgram&, uint32_t)) {
  program.load32(kAddress, kContext, offset);
  look_at_loopback(program, lists);
  if (!lists.v4.empty()) bind_source(program, lists.v4.front());
  program.jump(lists.v4.empty() ? "refuse" : "allow");
  if (lists.loopback == 0) return;
  program.label("loop");
  write_word(program, offset, lists.loopback);
  bind_source(program, lists.loopback);
  program.jump("allow");
}

BpfProgram connect4(const AddressLists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  connect_ip4(program, lists, kUserIp4, bind_source4);
  finish(program, EADDRNOTAVAIL);
  return program;
}

BpfProgram connect6(const AddressLists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  unless_mapped(program, kUserIp6, "plain6");
  connect_ip4(program, lists, kUserIp6 + 12, bind_mapped_source);
  program.label("plain6");
  look_at_loopback6(program, lists);
  if (!lists.v6.empty()) bind_source6(program, lists.v6.front());
  program.jump(lists.v6.empty() ? "refuse" : "allow");
  if (!lists.loopback6.empty()) {
    program.label("loop6");
    write_words6(program, kUserIp6, lists.loopback6.front());
    bind_source6(program, lists.loopback6.front());
  }
  finish(program, EADDRNOTAVAIL);
  return program;
}

BpfProgram sendmsg4(const AddressLists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  program.load32(kAddress, kContext, kUserIp4);
  look_at_loopback(program, lists);
  program.load32(kAddress, kContext, kSourceIp4);
  if_ours4(program, lists, kAddress, "allow");
  program.if_not_equal(kAddress, 0, "refuse");
  if (!lists.v4.empty()) write_word(program, kSourceIp4, lists.v4.front());
  program.jump(lists.v4.empty() ? "refuse" : "allow");
  if (lists.loopback != 0) {
    program.label("loop");
    write_word(program, kUserIp4, lists.loopback);
    program.load32(kAddress, kContext, kSourceIp4);
    if_ours4(program, lists, kAddress, "allow");
    write_word(program, kSourceIp4, lists.loopback);
  }
  finish(program, EADDRNOTAVAIL);
  return program;
}

BpfProgram sendmsg6(const AddressLists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  look_at_loopback6(program, lists);
  if_ours6(program, lists, kContext, kSourceIp6, "allow");
  unless_zero(program, kSourceIp6, 4, "refuse");
  if (!lists.v6.empty()) write_words6(program, kSourceIp6, lists.v6.front());
  program.jump(lists.v6.empty() ? "refuse" : "allow");
  if (!lists.loopback6.empty()) {
    program.label("loop6");
    write_words6(program, kUserIp6, lists.loopback6.front());
    if_ours6(program, lists, kContext, kSourceIp6, "allow");
    write_words6(program, kSourceIp6, lists.loopback6.front());
  }
  finish(program, EADDRNOTAVAIL);
  return program;
}

// --- what is shown ---------------------------------------------------------------------------------------

// The own loopback is 127.0.0.1 inside, and ::1.
void show_ip4(BpfProgram& program, const AddressLists& lists, int16_t offset) {
  program.load32(kAddress, kContext, offset);
  program.if_not_equal(kAddress, lists.loopback, "end");
  write_word(program, offset, kOne);
}

BpfProgram show4(const AddressLists& lists) {
  BpfProgram program;
  begin(program);
  show_ip4(program, lists, kUserIp4);
  program.label("end");
  program.leave_with(1);
  return program;
}
BpfProgram show6(const AddressLists& lists) {
  BpfProgram program;
  begin(program);
  unless_mapped(program, kUserIp6, "plain6");
  show_ip4(program, lists, kUserIp6 + 12);
  program.jump("end");
  program.label("plain6");
  for (const auto& own : lists.loopback6) {
    if_equal6(program, own, kContext, kUserIp6, "one6");
    program.jump("end");
    program.label("one6");
    write_words6(program, kUserIp6, kOne6);
  }
  program.label("end");
  program.leave_with(1);
  return program;
}

struct Hook {
  const char* name;
  bpf_attach_type attach;
  BpfProgram (*make)(const AddressLists&);
};
constexpr Hook kHooks[] = {
    {"vs_bind4", BPF_CGROUP_INET4_BIND, bind4},          {"vs_bind6", BPF_CGROUP_INET6_BIND, bind6},
    {"vs_connect4", BPF_CGROUP_INET4_CONNECT, connect4}, {"vs_connect6", BPF_CGROUP_INET6_CONNECT, connect6},
    {"vs_sendmsg4", BPF_CGROUP_UDP4_SENDMSG, sendmsg4},  {"vs_sendmsg6", BPF_CGROUP_UDP6_SENDMSG, sendmsg6}};
constexpr Hook kShowHooks[] = {{"vs_sockname4", BPF_CGROUP_INET4_GETSOCKNAME, show4},
                               {"vs_sockname6", BPF_CGROUP_INET6_GETSOCKNAME, show6},
                               {"vs_peername4", BPF_CGROUP_INET4_GETPEERNAME, show4},
                               {"vs_peername6", BPF_CGROUP_INET6_GETPEERNAME, show6},
                               {"vs_recvmsg4", BPF_CGROUP_UDP4_RECVMSG, show4},
                               {"vs_recvmsg6", BPF_CGROUP_UDP6_RECVMSG, show6}};

}  // namespace

uint32_t loopback_of_context(unsigned number) {
  return 0x7f000001u | ((number & 0xffff) << 8);
}

BindAddress loopback6_of_vserver(const std::string& name) {
  BindAddress address = parse_address(
      "lo:fd5c:9a1e:70b3:7653::/128");  // a unique local prefix (RFC 4193) drawn once for all hosts
  uint64_t hash = 0xcbf29ce484222325;   // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  for (size_t i = 0; i < 8; ++i) address.bytes[8 + i] = static_cast<uint8_t>(hash >> (56 - 8 * i));
  return address;
}

Result tie_to_addresses(int cgroup, const AddressRules& rules) {
  // The lock before the comfort: at no moment is there a way around.
  if (auto done = lock_to_addresses(cgroup, rules); !done || rules.own_network) return done;
  const AddressLists lists = lists_of(rules);
  for (const auto& hook : kHooks)
    if (auto done =
            load_and_attach(cgroup, hook.make(lists), BPF_PROG_TYPE_CGROUP_SOCK_ADDR, hook.attach, hook.name);
        !done)
      return done;
  if (lists.loopback == 0) return Ok{};
  for (const auto& hook : kShowHooks)
    if (auto done =
            load_and_attach(cgroup, hook.make(lists), BPF_PROG_TYPE_CGROUP_SOCK_ADDR, hook.attach, hook.name);
        !done)
      return done;
  return Ok{};
}

Result allow_low_ports(int cgroup, uint32_t user) {
  for (const auto attach : {BPF_CGROUP_INET4_BIND, BPF_CGROUP_INET6_BIND}) {
    BpfProgram program;
    leave_with_low_ports_for(program, user);
    if (auto done = load_and_attach(cgroup, program, BPF_PROG_TYPE_CGROUP_SOCK_ADDR, attach, "vs_low_ports");
        !done)
      return done;
  }
  return Ok{};
}

}  // namespace vs::isolation
