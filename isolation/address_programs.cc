#include "isolation/address_programs.h"

#include <arpa/inet.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "isolation/bpf_program.h"

namespace vs::isolation {
namespace {

constexpr uint8_t kContext = BPF_REG_6;   // kept over calls of helpers
constexpr uint8_t kAddress = BPF_REG_7;   // IPv4 address in network order
constexpr uint8_t kScratch = BPF_REG_8;
constexpr int16_t kStack = -32;           // sockaddr or bytes of a packet on the stack

constexpr int16_t kUserIp4 = offsetof(bpf_sock_addr, user_ip4);
constexpr int16_t kUserIp6 = offsetof(bpf_sock_addr, user_ip6);
constexpr int16_t kSourceIp4 = offsetof(bpf_sock_addr, msg_src_ip4);
constexpr int16_t kSourceIp6 = offsetof(bpf_sock_addr, msg_src_ip6);

// Constants as the program sees words that it loads from memory.
uint32_t word(const uint8_t* bytes) {
  uint32_t value = 0;
  std::memcpy(&value, bytes, 4);
  return value;
}
uint32_t net(uint32_t host_order) { return htonl(host_order); }
const uint32_t kMapped = net(0xffff);
const uint32_t kOne = net(0x7f000001);
const uint32_t kNet127 = net(0x7f000000);
const uint32_t kMask8 = net(0xff000000);

struct Lists {
  std::vector<uint32_t> v4;
  std::vector<std::array<uint32_t, 4>> v6;
  uint32_t loopback = 0;  // network order
};

Lists lists_of(const AddressRules& rules) {
  Lists lists;
  lists.loopback = rules.loopback == 0 ? 0 : net(rules.loopback);
  for (const auto& address : rules.addresses) {
    if (address.v6)
      lists.v6.push_back({word(&address.bytes[0]), word(&address.bytes[4]), word(&address.bytes[8]), word(&address.bytes[12])});
    else
      lists.v4.push_back(word(&address.bytes[0]));
  }
  return lists;
}

void begin(BpfProgram& program) { program.move(kContext, BPF_REG_1); }

// For programs with the ends of finish(). The verifier refuses instructions that nothing leads to, and which list is empty decides what leads
// where: so both ends have a way, one that no socket's family takes.
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

// Goes to `fine` when the address in `reg` is one of ours. Falls through otherwise.
void if_ours4(BpfProgram& program, const Lists& lists, uint8_t reg, const std::string& fine) {
  for (const uint32_t one : lists.v4) program.if_equal(reg, one, fine);
  if (lists.loopback != 0) program.if_equal(reg, lists.loopback, fine);
}

// The same for 16 bytes at `base` + `offset`.
void if_ours6(BpfProgram& program, const Lists& lists, uint8_t base, int16_t offset, const std::string& fine) {
  int count = 0;
  for (const auto& one : lists.v6) {
    const std::string next = "next6_" + std::to_string(offset) + "_" + std::to_string(count++);
    for (int i = 0; i < 4; ++i) {
      program.load32(kScratch, base, static_cast<int16_t>(offset + 4 * i));
      program.if_not_equal(kScratch, one[static_cast<size_t>(i)], next);
    }
    program.jump(fine);
    program.label(next);
  }
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

// --- bind ------------------------------------------------------------------------------------------------

// The IPv4 address at `offset` of the context: any becomes the first of ours, 127.0.0.1 the own loopback, ours stays, others are refused.
void bind_ip4(BpfProgram& program, const Lists& lists, int16_t offset) {
  program.load32(kAddress, kContext, offset);
  program.if_equal(kAddress, 0, "any4");
  if (lists.loopback != 0) program.if_equal(kAddress, kOne, "loopback4");
  if_ours4(program, lists, kAddress, "allow");
  program.jump("refuse");
  program.label("any4");
  if (lists.v4.empty())
    program.jump("refuse");
  else
    write_word(program, offset, lists.v4.front());
  program.jump("allow");
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

BpfProgram bind4(const Lists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  bind_ip4(program, lists, kUserIp4);
  finish(program, EADDRNOTAVAIL);
  return program;
}

BpfProgram bind6(const Lists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  unless_zero(program, kUserIp6, 4, "not_any");
  if (!lists.v6.empty()) {
    for (int i = 0; i < 4; ++i) write_word(program, static_cast<int16_t>(kUserIp6 + 4 * i), lists.v6.front()[static_cast<size_t>(i)]);
    program.jump("allow");
  } else if (!lists.v4.empty()) {  // a server that listens on [::] for both kinds gets the kind there is
    write_word(program, kUserIp6 + 8, kMapped);
    write_word(program, kUserIp6 + 12, lists.v4.front());
    program.jump("allow");
  } else {
    program.jump("refuse");
  }
  program.label("not_any");
  if_ours6(program, lists, kContext, kUserIp6, "allow");
  unless_mapped(program, kUserIp6, "refuse");
  bind_ip4(program, lists, kUserIp6 + 12);
  finish(program, EADDRNOTAVAIL);
  return program;
}

// --- connect and sendmsg ---------------------------------------------------------------------------------

// bpf_bind(context, address with port 0). That it fails for a socket that is bound already is right.
void bind_source4(BpfProgram& program, uint32_t source) {
  program.store32_constant(BPF_REG_10, kStack, AF_INET);
  program.store32_constant(BPF_REG_10, kStack + 4, source);
  program.store32_constant(BPF_REG_10, kStack + 8, 0);
  program.store32_constant(BPF_REG_10, kStack + 12, 0);
  program.move(BPF_REG_1, kContext);
  program.move(BPF_REG_2, BPF_REG_10);
  program.add_constant(BPF_REG_2, kStack);
  program.set(BPF_REG_3, sizeof(sockaddr_in));
  program.call(BPF_FUNC_bind);
}

void bind_source6(BpfProgram& program, const std::array<uint32_t, 4>& source) {
  program.store32_constant(BPF_REG_10, kStack, AF_INET6);
  program.store32_constant(BPF_REG_10, kStack + 4, 0);
  for (int i = 0; i < 4; ++i) program.store32_constant(BPF_REG_10, static_cast<int16_t>(kStack + 8 + 4 * i), source[static_cast<size_t>(i)]);
  program.store32_constant(BPF_REG_10, kStack + 24, 0);
  program.move(BPF_REG_1, kContext);
  program.move(BPF_REG_2, BPF_REG_10);
  program.add_constant(BPF_REG_2, kStack);
  program.set(BPF_REG_3, sizeof(sockaddr_in6));
  program.call(BPF_FUNC_bind);
}

// Destination 127.0.0.1 becomes the own loopback, the rest of 127/8 but that is refused; the address is in kAddress. Goes to "loop" or falls through.
void look_at_loopback(BpfProgram& program, const Lists& lists) {
  if (lists.loopback == 0) return;
  program.if_equal(kAddress, kOne, "loop");
  program.if_equal(kAddress, lists.loopback, "loop");
  program.move(kScratch, kAddress);
  program.and32(kScratch, kMask8);
  program.if_equal(kScratch, kNet127, "refuse");
  program.if_equal(kAddress, 0, "loop");  // connecting to 0.0.0.0 means the local host
}

BpfProgram connect4(const Lists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  program.load32(kAddress, kContext, kUserIp4);
  look_at_loopback(program, lists);
  if (lists.v4.empty())
    program.jump("refuse");
  else
    bind_source4(program, lists.v4.front());
  program.jump("allow");
  if (lists.loopback != 0) {
    program.label("loop");
    write_word(program, kUserIp4, lists.loopback);
    bind_source4(program, lists.loopback);
  }
  finish(program, EADDRNOTAVAIL);
  return program;
}

BpfProgram connect6(const Lists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  unless_mapped(program, kUserIp6, "plain6");
  program.load32(kAddress, kContext, kUserIp6 + 12);
  look_at_loopback(program, lists);
  if (lists.v4.empty())
    program.jump("refuse");
  else
    bind_source6(program, {0, 0, kMapped, lists.v4.front()});
  program.jump("allow");
  if (lists.loopback != 0) {
    program.label("loop");
    write_word(program, kUserIp6 + 12, lists.loopback);
    bind_source6(program, {0, 0, kMapped, lists.loopback});
    program.jump("allow");
  }
  program.label("plain6");
  if (lists.loopback != 0) {  // ::1 is the host's: there is only one
    unless_zero(program, kUserIp6, 3, "source6");
    program.load32(kScratch, kContext, kUserIp6 + 12);
    program.if_equal(kScratch, net(1), "refuse");
    program.if_equal(kScratch, 0, "refuse");
    program.label("source6");
  }
  if (lists.v6.empty())
    program.jump("refuse");
  else
    bind_source6(program, lists.v6.front());
  finish(program, EADDRNOTAVAIL);
  return program;
}

BpfProgram sendmsg4(const Lists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  program.load32(kAddress, kContext, kUserIp4);
  look_at_loopback(program, lists);
  program.load32(kAddress, kContext, kSourceIp4);
  if_ours4(program, lists, kAddress, "allow");
  program.if_not_equal(kAddress, 0, "refuse");
  if (lists.v4.empty())
    program.jump("refuse");
  else
    write_word(program, kSourceIp4, lists.v4.front());
  program.jump("allow");
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

BpfProgram sendmsg6(const Lists& lists) {
  BpfProgram program;
  begin_with_ends(program);
  if (lists.loopback != 0) {
    unless_zero(program, kUserIp6, 3, "source");
    program.load32(kScratch, kContext, kUserIp6 + 12);
    program.if_equal(kScratch, net(1), "refuse");
    program.label("source");
  }
  if_ours6(program, lists, kContext, kSourceIp6, "allow");
  unless_zero(program, kSourceIp6, 4, "refuse");
  if (lists.v6.empty())
    program.jump("refuse");
  else
    for (int i = 0; i < 4; ++i) write_word(program, static_cast<int16_t>(kSourceIp6 + 4 * i), lists.v6.front()[static_cast<size_t>(i)]);
  finish(program, EADDRNOTAVAIL);
  return program;
}

// --- what is shown ---------------------------------------------------------------------------------------

// The own loopback is 127.0.0.1 inside.
BpfProgram show4(const Lists& lists) {
  BpfProgram program;
  begin(program);
  program.load32(kAddress, kContext, kUserIp4);
  program.if_not_equal(kAddress, lists.loopback, "end");
  write_word(program, kUserIp4, kOne);
  program.label("end");
  program.leave_with(1);
  return program;
}
BpfProgram show6(const Lists& lists) {
  BpfProgram program;
  begin(program);
  unless_mapped(program, kUserIp6, "end");
  program.load32(kAddress, kContext, kUserIp6 + 12);
  program.if_not_equal(kAddress, lists.loopback, "end");
  write_word(program, kUserIp6 + 12, kOne);
  program.label("end");
  program.leave_with(1);
  return program;
}

// --- the lock --------------------------------------------------------------------------------------------

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

// The local address (source going out, destination coming in) must be ours. What goes out to 127/8 must go to the own loopback.
BpfProgram packet_filter(const Lists& lists, bool egress) {
  BpfProgram program;
  begin(program);
  program.load32(kScratch, kContext, offsetof(__sk_buff, protocol));
  program.if_equal(kScratch, htons(0x0800), "ip4");
  program.if_equal(kScratch, htons(0x86dd), "ip6");
  program.jump("drop");
  program.label("ip4");
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
  program.jump("drop");
  program.label("ip6");
  load_bytes(program, egress ? 8 : 24, 16);
  if_ours6(program, lists, BPF_REG_10, kStack, "pass");
  program.label("drop");
  program.leave_with(0);
  program.label("pass");
  program.leave_with(1);
  return program;
}

struct Hook {
  const char* name;
  bpf_attach_type attach;
  BpfProgram (*make)(const Lists&);
};
constexpr Hook kHooks[] = {{"vs_bind4", BPF_CGROUP_INET4_BIND, bind4},       {"vs_bind6", BPF_CGROUP_INET6_BIND, bind6},
                           {"vs_connect4", BPF_CGROUP_INET4_CONNECT, connect4}, {"vs_connect6", BPF_CGROUP_INET6_CONNECT, connect6},
                           {"vs_sendmsg4", BPF_CGROUP_UDP4_SENDMSG, sendmsg4},  {"vs_sendmsg6", BPF_CGROUP_UDP6_SENDMSG, sendmsg6}};
constexpr Hook kShowHooks[] = {{"vs_sockname4", BPF_CGROUP_INET4_GETSOCKNAME, show4}, {"vs_sockname6", BPF_CGROUP_INET6_GETSOCKNAME, show6},
                               {"vs_peername4", BPF_CGROUP_INET4_GETPEERNAME, show4}, {"vs_peername6", BPF_CGROUP_INET6_GETPEERNAME, show6},
                               {"vs_recvmsg4", BPF_CGROUP_UDP4_RECVMSG, show4},       {"vs_recvmsg6", BPF_CGROUP_UDP6_RECVMSG, show6}};

Result load_and_attach(int cgroup, BpfProgram program, bpf_prog_type type, bpf_attach_type attach, const std::string& name) {
  auto fd = program.load(type, attach, name);
  if (!fd) return fd.error();
  return attach_to_cgroup(cgroup, fd->get(), attach, name);
}

}  // namespace

uint32_t loopback_of_context(unsigned number) { return 0x7f000001u | ((number & 0xffff) << 8); }

Result tie_to_addresses(int cgroup, const AddressRules& rules) {
  const Lists lists = lists_of(rules);
  // The lock before the comfort: at no moment is there a way around.
  for (const bool egress : {true, false})
    if (auto done = load_and_attach(cgroup, packet_filter(lists, egress), BPF_PROG_TYPE_CGROUP_SKB, egress ? BPF_CGROUP_INET_EGRESS : BPF_CGROUP_INET_INGRESS,
                                    egress ? "vs_egress" : "vs_ingress"); !done)
      return done;
  for (const auto& hook : kHooks)
    if (auto done = load_and_attach(cgroup, hook.make(lists), BPF_PROG_TYPE_CGROUP_SOCK_ADDR, hook.attach, hook.name); !done) return done;
  if (lists.loopback == 0) return Ok{};
  for (const auto& hook : kShowHooks)
    if (auto done = load_and_attach(cgroup, hook.make(lists), BPF_PROG_TYPE_CGROUP_SOCK_ADDR, hook.attach, hook.name); !done) return done;
  return Ok{};
}

Result allow_harmless_devices(int cgroup) {
  constexpr uint32_t kMemory[] = {3, 5, 7, 8, 9};  // null zero full random urandom
  BpfProgram program;
  begin(program);
  program.load32(kScratch, kContext, offsetof(bpf_cgroup_dev_ctx, access_type));
  program.and32(kScratch, 0xffff);
  program.if_not_equal(kScratch, BPF_DEVCG_DEV_CHAR, "refuse");
  program.load32(kScratch, kContext, offsetof(bpf_cgroup_dev_ctx, major));
  program.load32(kAddress, kContext, offsetof(bpf_cgroup_dev_ctx, minor));
  program.if_equal(kScratch, 136, "allow");  // pseudo terminals
  program.if_equal(kScratch, 1, "memory");
  program.if_not_equal(kScratch, 5, "refuse");
  program.if_equal(kAddress, 0, "allow");  // tty
  program.if_equal(kAddress, 2, "allow");  // ptmx
  program.jump("refuse");
  program.label("memory");
  for (const uint32_t one : kMemory) program.if_equal(kAddress, one, "allow");
  program.label("refuse");
  program.leave_with(0);
  program.label("allow");
  program.leave_with(1);
  return load_and_attach(cgroup, std::move(program), BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE, "vs_devices");
}

}  // namespace vs::isolation
