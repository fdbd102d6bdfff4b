#include "isolation/confine/syscall_filter.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "core/unique_fd.h"

namespace vs::isolation {
namespace {

constexpr uint64_t kNamespaces[] = {CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,   CLONE_NEWNET,
                                    CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP};

constexpr int kDenied[] = {SCMP_SYS(setns),
                           SCMP_SYS(mount),
                           SCMP_SYS(umount2),
                           SCMP_SYS(umount),
                           SCMP_SYS(pivot_root),
                           SCMP_SYS(fsopen),
                           SCMP_SYS(fsconfig),
                           SCMP_SYS(fsmount),
                           SCMP_SYS(fspick),
                           SCMP_SYS(open_tree),
                           SCMP_SYS(move_mount),
                           SCMP_SYS(mount_setattr),
                           SCMP_SYS(open_by_handle_at),
                           SCMP_SYS(name_to_handle_at),
                           SCMP_SYS(init_module),
                           SCMP_SYS(finit_module),
                           SCMP_SYS(delete_module),
                           SCMP_SYS(create_module),
                           SCMP_SYS(get_kernel_syms),
                           SCMP_SYS(query_module),
                           SCMP_SYS(kexec_load),
                           SCMP_SYS(kexec_file_load),
                           SCMP_SYS(bpf),
                           SCMP_SYS(perf_event_open),
                           SCMP_SYS(add_key),
                           SCMP_SYS(request_key),
                           SCMP_SYS(keyctl),
                           SCMP_SYS(io_uring_setup),
                           SCMP_SYS(io_uring_enter),
                           SCMP_SYS(io_uring_register),
                           SCMP_SYS(userfaultfd),
                           SCMP_SYS(settimeofday),
                           SCMP_SYS(clock_settime),
                           SCMP_SYS(clock_settime64),
                           SCMP_SYS(stime),
                           SCMP_SYS(adjtimex),
                           SCMP_SYS(clock_adjtime),
                           SCMP_SYS(clock_adjtime64),
                           SCMP_SYS(swapon),
                           SCMP_SYS(swapoff),
                           SCMP_SYS(acct),
                           SCMP_SYS(quotactl),
                           SCMP_SYS(quotactl_fd),
                           SCMP_SYS(iopl),
                           SCMP_SYS(ioperm),
                           SCMP_SYS(lookup_dcookie),
                           SCMP_SYS(syslog),
                           SCMP_SYS(vhangup),
                           SCMP_SYS(nfsservctl),
                           SCMP_SYS(uselib),
                           SCMP_SYS(_sysctl),
                           SCMP_SYS(fanotify_init),
                           SCMP_SYS(kcmp)};

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ALLOW), &seccomp_release) {
    if (!context_) failed_ = -ENOMEM;
    // A filter of the native kind only would kill 32-bit programs.
    if (seccomp_arch_native() == SCMP_ARCH_X86_64) keep(seccomp_arch_add(context_.get(), SCMP_ARCH_X86));
    keep(seccomp_attr_set(context_.get(), SCMP_FLTATR_CTL_NNP,
                          0));  // set-id programs of the guest go on working
  }
  void deny(int call, int error = EPERM) {
    keep(seccomp_rule_add(context_.get(), SCMP_ACT_ERRNO(static_cast<uint16_t>(error)), call, 0));
  }
  void deny_where(int call, const scmp_arg_cmp& compare, int error = EPERM) {
    keep(seccomp_rule_add(context_.get(), SCMP_ACT_ERRNO(static_cast<uint16_t>(error)), call, 1, compare));
  }
  Result load() {
    if (failed_ == 0) keep(seccomp_load(context_.get()));
    if (failed_ != 0) return problem_from(-failed_, "load", "the seccomp filter");
    return Ok{};
  }
  Expected<std::string> program() {
    const UniqueFd file(::memfd_create("filter", MFD_CLOEXEC));
    if (!file) return problem_from_errno("make a file for", "the seccomp filter");
    if (failed_ == 0) keep(seccomp_export_bpf(context_.get(), file.get()));
    if (failed_ != 0) return problem_from(-failed_, "make", "the seccomp filter");
    std::string bytes(static_cast<size_t>(::lseek(file.get(), 0, SEEK_END)), '\0');
    if (::pread(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
      return problem_from_errno("read back", "the seccomp filter");
    return bytes;
  }

 private:
  // Calls that an architecture does not have are no error.
  void keep(int result) {
    if (result < 0 && result != -EDOM && result != -EEXIST && failed_ == 0) failed_ = result;
  }
  std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
  int failed_ = 0;
};

void deny_namespaces(Filter& filter) {
  filter.deny(SCMP_SYS(setns));
  filter.deny(SCMP_SYS(clone3), ENOSYS);
  for (const uint64_t flag : kNamespaces) {
    filter.deny_where(SCMP_SYS(unshare), SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
    filter.deny_where(SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
  }
}

// personality(READ_IMPLIES_EXEC), with whatever else is set; but 32 ones are no personality, they ask for the
// present one, as systemd does. One argument can be compared once in a rule: so one for each other bit that
// is not set.
void deny_executable_data(Filter& filter) {
  constexpr uint64_t kReadImpliesExec = 0x0400000;
  for (int bit = 0; bit < 32; ++bit)
    if (const uint64_t other = uint64_t{1} << bit; other != kReadImpliesExec)
      filter.deny_where(SCMP_SYS(personality),
                        SCMP_A0(SCMP_CMP_MASKED_EQ, kReadImpliesExec | other, kReadImpliesExec));
}

// In front of a program, whose jumps are all relative. libseccomp 2.5 knows no call of this number and cannot
// translate it for 32-bit programs, though it is the same one everywhere.
std::string denial_of_file_setattr() {
  constexpr uint32_t kFileSetattr = 469;  // Linux 6.17
  const sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                              BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kFileSetattr, 0, 1),
                              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)};
  return {reinterpret_cast<const char*>(code), sizeof code};
}

}  // namespace

Result filter_namespaces() {
  Filter filter;
  deny_namespaces(filter);
  return filter.load();
}

Expected<std::string> make_guest_filter(const FilterOptions& options) {
  Filter filter;
  deny_namespaces(filter);
  for (const int call : kDenied) filter.deny(call);
  // The kernel looks at 32 bits of the request only; so must we.
  constexpr uint64_t kLow = 0xffffffff;
  filter.deny_where(SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, kLow, TIOCSTI));
  filter.deny_where(SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, kLow, TIOCLINUX));
  if (options.keep_projects) {
    constexpr uint64_t kSetFlags32 = 0x40046602;  // FS_IOC32_SETFLAGS, of 32-bit programs
    for (const uint64_t request : {uint64_t{FS_IOC_SETFLAGS}, kSetFlags32, uint64_t{FS_IOC_FSSETXATTR}})
      filter.deny_where(SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, kLow, request & kLow));
  }
  for (const int call : {SCMP_SYS(fcntl), SCMP_SYS(fcntl64)})
    filter.deny_where(call, SCMP_A1(SCMP_CMP_MASKED_EQ, kLow, F_SETLEASE), EINVAL);
  deny_executable_data(filter);
  if (options.shared_network)
    for (const int family : {AF_PACKET, AF_KEY, AF_VSOCK, 44 /* AF_XDP */, AF_TIPC, AF_ALG})
      filter.deny_where(SCMP_SYS(socket), SCMP_A0(SCMP_CMP_MASKED_EQ, kLow, static_cast<uint64_t>(family)),
                        EAFNOSUPPORT);
  auto program = filter.program();
  if (program && options.keep_projects) program->insert(0, denial_of_file_setattr());
  return program;
}

Result load_guest_filter(const std::string& program) {
  std::vector<sock_filter> instructions(program.size() / sizeof(sock_filter));
  std::memcpy(instructions.data(), program.data(), instructions.size() * sizeof(sock_filter));
  const sock_fprog filter{static_cast<unsigned short>(instructions.size()), instructions.data()};
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0)
    return problem_from_errno("load", "the seccomp filter");
  return Ok{};
}

}  // namespace vs::isolation
