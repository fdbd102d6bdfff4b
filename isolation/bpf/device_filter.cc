#include "isolation/bpf/device_filter.h"

#include <linux/bpf.h>

#include <cstddef>
#include <utility>

#include "isolation/bpf/bpf_program.h"

namespace vs::isolation {
namespace {

constexpr uint8_t kContext = BPF_REG_6, kMajor = BPF_REG_7, kMinor = BPF_REG_8;

}  // namespace

Result allow_harmless_devices(int cgroup) {
  constexpr uint32_t kMemory[] = {3, 5, 7, 8, 9};  // null zero full random urandom
  BpfProgram program;
  program.move(kContext, BPF_REG_1);
  program.load32(kMajor, kContext, offsetof(bpf_cgroup_dev_ctx, access_type));
  program.and32(kMajor, 0xffff);
  program.if_not_equal(kMajor, BPF_DEVCG_DEV_CHAR, "refuse");
  program.load32(kMajor, kContext, offsetof(bpf_cgroup_dev_ctx, major));
  program.load32(kMinor, kContext, offsetof(bpf_cgroup_dev_ctx, minor));
  program.if_equal(kMajor, 136, "allow");  // pseudo terminals
  program.if_equal(kMajor, 1, "memory");
  program.if_not_equal(kMajor, 5, "refuse");
  program.if_equal(kMinor, 0, "allow");  // tty
  program.if_equal(kMinor, 2, "allow");  // ptmx
  program.jump("refuse");
  program.label("memory");
  for (const uint32_t one : kMemory) program.if_equal(kMinor, one, "allow");
  program.label("refuse");
  program.leave_with(0);
  program.label("allow");
  program.leave_with(1);
  return load_and_attach(cgroup, std::move(program), BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE,
                         "vs_devices");
}

}  // namespace vs::isolation
