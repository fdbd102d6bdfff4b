#include "isolation/network/connect_programs.h"

#include <linux/bpf.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstddef>

namespace vs::isolation {
namespace {

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
  program.if_equal(kAddress, kLoopback4, "loop");
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
  if_equal6(program, kLoopback6, kContext, kUserIp6, one);
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

}  // namespace

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

}  // namespace vs::isolation
