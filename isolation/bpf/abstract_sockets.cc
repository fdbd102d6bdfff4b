#include "isolation/bpf/abstract_sockets.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/landlock.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <sstream>

#include "core/durable/durable_file.h"
#include "core/unique_fd.h"
#include "isolation/bpf/bpf_program.h"
#include "isolation/bpf/kernel_types.h"

namespace vs::isolation {
namespace {

constexpr long kLandlockWithScopes = 6;  // ABI of Linux 6.12
constexpr int16_t kSlot = -8;            // of the stack: what was read last
constexpr uint8_t kOther = BPF_REG_7, kWalk = BPF_REG_8, kOurs = BPF_REG_9;
// Cgroups in cgroups that are looked at on the way up from a socket's; a guest that nests deeper cannot reach
// its own sockets there.
constexpr int kMostLevels = 24;

// Members of the kernel's structures that lead from a socket to its address and to its cgroup's number, and
// the functions that ask.
struct Offsets {
  uint32_t socket_sk = 0, unix_addr = 0, address_name = 0, sock_cgroup = 0, cgroup_node = 0,
           cgroup_parent = 0, state_cgroup = 0, node_id = 0, connect = 0, send = 0;
};

std::optional<Offsets> offsets_of(const KernelTypes& types) {
  const auto connect = types.function("bpf_lsm_unix_stream_connect"),
             send = types.function("bpf_lsm_unix_may_send");
  const auto socket_sk = types.offset("socket", "sk"), unix_addr = types.offset("unix_sock", "addr"),
             name = types.offset("unix_address", "name"), data = types.offset("sock", "sk_cgrp_data"),
             cgroup = types.offset("sock_cgroup_data", "cgroup"), node = types.offset("cgroup", "kn"),
             self = types.offset("cgroup", "self"), parent = types.offset("cgroup_subsys_state", "parent"),
             back = types.offset("cgroup_subsys_state", "cgroup"), id = types.offset("kernfs_node", "id");
  if (!socket_sk || !unix_addr || !name || !data || !cgroup || !node || !self || !parent || !back || !id ||
      !connect || !send)
    return std::nullopt;
  return Offsets{*socket_sk,      *unix_addr, *name, *data + *cgroup, *node,
                 *self + *parent, *back,      *id,   *connect,        *send};
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

// kOther is the socket that is asked for. Allowed: one without a name or with one in the file system; one
// made in our cgroup or below.
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
  uint32_t Offsets::*function;
  const char* name;
  bool by_socket;  // its second argument is a socket, not a sock
};
constexpr Hook kHooks[] = {{&Offsets::connect, "vs_unix_connect", false},
                           {&Offsets::send, "vs_unix_send", true}};

Expected<UniqueFd> load(const Offsets& offsets, const Hook& hook, uint64_t cgroup) {
  BpfProgram program;
  program.load64(kOther, BPF_REG_1, 8);
  if (hook.by_socket) follow(program, kOther, kOther, offsets.socket_sk);
  judge(program, offsets, cgroup);
  return program.load(BPF_PROG_TYPE_LSM, BPF_LSM_CGROUP, hook.name, offsets.*hook.function);
}

std::string boot_id() {
  auto text = read_whole("/proc/sys/kernel/random/boot_id", 64);
  return text ? text->substr(0, text->find('\n')) : "";
}

// Kept as the boot's id and the numbers in their order: five megabytes of the kernel's types are read and
// searched once a boot (15 ms), not at each start.
std::optional<Offsets> kernel_offsets(const std::string& run) {
  const std::string file = run + "/kernel-offsets", boot = boot_id();
  Offsets at;
  const std::array all = {&at.socket_sk,   &at.unix_addr,     &at.address_name, &at.sock_cgroup,
                          &at.cgroup_node, &at.cgroup_parent, &at.state_cgroup, &at.node_id,
                          &at.connect,     &at.send};
  if (const auto kept = read_whole(file, 4096)) {
    std::istringstream words(*kept);
    std::string of_boot, end;
    words >> of_boot;
    for (auto* one : all) words >> *one;
    if (words >> end && end == "end" && of_boot == boot && !boot.empty()) return at;
  }
  const auto types = KernelTypes::read();
  const auto found = types ? offsets_of(*types) : std::nullopt;
  if (!found) return std::nullopt;
  at = *found;
  std::string text = boot;
  for (const auto* one : all) text += fmt::format(" {}", *one);
  static_cast<void>(
      write_durably(file, text + " end\n", 0600).has_value());  // else it is found again the next time
  return at;
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

bool bpf_works(const std::string& run) {
  if (!bpf_is_a_security_module()) return false;
  const auto offsets = kernel_offsets(run);
  if (!offsets) return false;
  for (const auto& hook : kHooks)
    if (!load(*offsets, hook, 0)) return false;
  return true;
}

}  // namespace

AbstractSocketGuard abstract_socket_guard(const std::string& run) {
  if (bpf_works(run)) return AbstractSocketGuard::bpf;
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi >= kLandlockWithScopes ? AbstractSocketGuard::landlock : AbstractSocketGuard::none;
}

Result keep_abstract_sockets_in(int cgroup, const std::string& run) {
  struct stat found {};
  // The inode of a cgroup's directory is its number.
  if (::fstat(cgroup, &found) != 0) return problem_from_errno("look at", "a cgroup");
  const auto offsets = kernel_offsets(run);
  if (!offsets)
    return Problem{ENOTSUP, "this kernel does not say where it has a socket's address and cgroup"};
  for (const auto& hook : kHooks) {
    const auto program = load(*offsets, hook, found.st_ino);
    if (!program) return program.error();
    if (auto done = attach_to_cgroup(cgroup, program->get(), BPF_LSM_CGROUP, hook.name); !done) return done;
  }
  return Ok{};
}

}  // namespace vs::isolation
