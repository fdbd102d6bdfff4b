#include "isolation/abstract_sockets.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/landlock.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "core/unique_fd.h"
#include "isolation/bpf_program.h"
#include "isolation/kernel_types.h"

namespace vs::isolation {
namespace {

constexpr long kLandlockWithScopes = 6;  // ABI of Linux 6.12
constexpr int16_t kSlot = -8;            // of the stack: what was read last
constexpr uint8_t kOther = BPF_REG_7, kWalk = BPF_REG_8, kOurs = BPF_REG_9;
// Cgroups in cgroups that are looked at on the way up from a socket's; a guest that nests deeper cannot reach its own sockets there.
constexpr int kMostLevels = 24;

// Members of the kernel's structures that lead from a socket to its address and to its cgroup's number.
struct Offsets {
  uint32_t socket_sk = 0, unix_addr = 0, address_name = 0, sock_cgroup = 0, cgroup_node = 0, cgroup_parent = 0, state_cgroup = 0, node_id = 0;
};

std::optional<Offsets> offsets_of(const KernelTypes& types) {
  const auto socket_sk = types.offset("socket", "sk"), unix_addr = types.offset("unix_sock", "addr"), name = types.offset("unix_address", "name"),
             data = types.offset("sock", "sk_cgrp_data"), cgroup = types.offset("sock_cgroup_data", "cgroup"), node = types.offset("cgroup", "kn"),
             self = types.offset("cgroup", "self"), parent = types.offset("cgroup_subsys_state", "parent"), back = types.offset("cgroup_subsys_state", "cgroup"),
             id = types.offset("kernfs_node", "id");
  if (!socket_sk || !unix_addr || !name || !data || !cgroup || !node || !self || !parent || !back || !id) return std::nullopt;
  return Offsets{*socket_sk, *unix_addr, *name, *data + *cgroup, *node, *self + *parent, *back, *id};
}

// `bytes` of the kernel's memory at `base` + `offset`, into the slot.
void read_kernel(BpfProgram& program, uint8_t base, uint32_t offset, int32_t bytes) {
  program.move(BPF_REG_3, base);
  program.add_constant(BPF_REG_3, static_cast<int32_t>(offset));
  program.move(BPF_REG_1, BPF_REG_10);
  program.add_constant(BPF_REG_1, kSlot);
  program.set(BPF_REG_2, bytes);
  program.call(BPF_FUNC_probe_read_kernel);
  program.if_not_equal(BPF_REG_0, 0, "refuse");
}
void follow(BpfProgram& program, uint8_t to, uint8_t base, uint32_t offset) {
  read_kernel(program, base, offset, 8);
  program.load64(to, BPF_REG_10, kSlot);
}

// kOther is the socket that is asked for. Allowed: one without a name or with one in the file system; one made in our cgroup or below.
void judge(BpfProgram& program, const Offsets& at, uint64_t cgroup) {
  program.set64(kOurs, cgroup);
  follow(program, kWalk, kOther, at.unix_addr);
  program.if_null(kWalk, "allow");
  program.store64_constant(BPF_REG_10, kSlot, 0);
  read_kernel(program, kWalk, at.address_name + offsetof(sockaddr_un, sun_path), 1);
  program.load8(BPF_REG_1, BPF_REG_10, kSlot);
  program.if_not_equal(BPF_REG_1, 0, "allow");
  follow(program, kWalk, kOther, at.sock_cgroup);
  for (int level = 0; level < kMostLevels; ++level) {
    follow(program, BPF_REG_1, kWalk, at.cgroup_node);
    follow(program, BPF_REG_1, BPF_REG_1, at.node_id);
    program.if_same(BPF_REG_1, kOurs, "allow");
    follow(program, kWalk, kWalk, at.cgroup_parent);
    program.if_null(kWalk, "refuse");
    follow(program, kWalk, kWalk, at.state_cgroup);
  }
  program.label("refuse");
  program.leave_with(0);
  program.label("allow");
  program.leave_with(1);
}

struct Hook {
  const char* function;
  const char* name;
  bool by_socket;  // its second argument is a socket, not a sock
};
constexpr Hook kHooks[] = {{"bpf_lsm_unix_stream_connect", "vs_unix_connect", false}, {"bpf_lsm_unix_may_send", "vs_unix_send", true}};

Expected<UniqueFd> load(const KernelTypes& types, const Hook& hook, uint64_t cgroup) {
  const auto offsets = offsets_of(types);
  const auto function = types.function(hook.function);
  if (!offsets || !function) return Problem{ENOTSUP, fmt::format("this kernel does not say where {} finds a socket's address and cgroup", hook.function)};
  BpfProgram program;
  program.load64(kOther, BPF_REG_1, 8);
  if (hook.by_socket) follow(program, kOther, kOther, offsets->socket_sk);
  judge(program, *offsets, cgroup);
  return program.load(BPF_PROG_TYPE_LSM, BPF_LSM_CGROUP, hook.name, *function);
}

const Expected<KernelTypes>& kernel_types() {
  static const Expected<KernelTypes> types = KernelTypes::read();
  return types;
}

// /sys/kernel/security/lsm, from a securityfs of our own, since nobody need have mounted one.
bool bpf_is_a_security_module() {
  const UniqueFd context(::fsopen("securityfs", FSOPEN_CLOEXEC));
  if (!context || ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return false;
  const UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  const UniqueFd file(mount ? ::openat(mount.get(), "lsm", O_RDONLY | O_CLOEXEC) : -1);
  char text[512] = {};
  if (!file || ::read(file.get(), text, sizeof text - 1) <= 0) return false;
  return ("," + std::string(text) + ",").find(",bpf,") != std::string::npos;
}

bool bpf_works() {
  if (!bpf_is_a_security_module() || !kernel_types()) return false;
  for (const auto& hook : kHooks)
    if (!load(*kernel_types(), hook, 0)) return false;
  return true;
}

}  // namespace

AbstractSocketGuard abstract_socket_guard() {
  if (bpf_works()) return AbstractSocketGuard::bpf;
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi >= kLandlockWithScopes ? AbstractSocketGuard::landlock : AbstractSocketGuard::none;
}

Result keep_abstract_sockets_in(int cgroup) {
  struct stat found {};
  // The inode of a cgroup's directory is its number.
  if (::fstat(cgroup, &found) != 0) return problem_from_errno("look at", "a cgroup");
  if (!kernel_types()) return kernel_types().error();
  for (const auto& hook : kHooks) {
    const auto program = load(*kernel_types(), hook, found.st_ino);
    if (!program) return program.error();
    if (auto done = attach_to_cgroup(cgroup, program->get(), BPF_LSM_CGROUP, hook.name); !done) return done;
  }
  return Ok{};
}

}  // namespace vs::isolation
