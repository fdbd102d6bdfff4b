#include "isolation/network/address_programs.h"

#include <linux/bpf.h>

#include "isolation/network/address_code.h"
#include "isolation/network/bind_programs.h"
#include "isolation/network/connect_programs.h"
#include "isolation/network/packet_filter.h"

namespace vs::isolation {
namespace {

// --- what is shown ---------------------------------------------------------------------------------------

// The own loopback is 127.0.0.1 inside, and ::1.
void show_ip4(BpfProgram& program, const AddressLists& lists, int16_t offset) {
  program.load32(kAddress, kContext, offset);
  program.if_not_equal(kAddress, lists.loopback, "end");
  write_word(program, offset, kLoopback4);
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
    write_words6(program, kUserIp6, kLoopback6);
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
