// Attempts at the kernel and the machine: mounts, namespaces, devices, modules, the clock.
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/fanotify.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "tests/isolation/root/attacker/outcome.h"

namespace attacker {
namespace {

// A directory to mount on, in the current one.
constexpr const char* kMountPoint = "mount-point";

Outcome try_mount(const char* type, const char* data) {
  if (mkdir(kMountPoint, 0755) != 0 && errno != EEXIST) return untried("mkdir");
  return answered(mount(type, kMountPoint, type, 0, data));
}

// The node is never opened, and is gone at once where it could be made.
Outcome try_node(const char* path, mode_t kind, unsigned major, unsigned minor) {
  const int made = mknod(path, kind | 0600, makedev(major, minor));
  const Outcome outcome = answered(made);
  if (made == 0) unlink(path);
  return outcome;
}

// A program of two instructions that lets nothing pass, attached to nothing.
Outcome try_bpf(const char*, const char*) {
  const bpf_insn code[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  bpf_attr program{};
  program.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  program.insns = reinterpret_cast<uint64_t>(code);
  program.insn_cnt = 2;
  program.license = reinterpret_cast<uint64_t>("GPL");
  return answered(syscall(SYS_bpf, BPF_PROG_LOAD, &program, sizeof program));
}

// A counter in software of this process alone: every machine has one.
Outcome try_perf(const char*, const char*) {
  perf_event_attr counter{};
  counter.size = sizeof counter;
  counter.type = PERF_TYPE_SOFTWARE;
  counter.config = PERF_COUNT_SW_TASK_CLOCK;
  return answered(syscall(SYS_perf_event_open, &counter, 0, -1, -1, 0UL));
}

Outcome try_io_uring(const char*, const char*) {
  io_uring_params parameters{};
  return answered(syscall(SYS_io_uring_setup, 1, &parameters));
}

// Also where a sysctl refuses io_uring_setup to all: no descriptor has this number.
Outcome try_io_uring_register(const char*, const char*) {
  return answered(syscall(SYS_io_uring_register, 1 << 20, IORING_UNREGISTER_FILES, nullptr, 0));
}

// Into the keyring of this process, which is gone with it.
Outcome try_key(const char*, const char*) {
  return answered(syscall(SYS_add_key, "user", "attacker", "y", 1, -2 /* KEY_SPEC_PROCESS_KEYRING */));
}

// Key strokes for whoever reads from a terminal: here one of our own. `request` is TIOCSTI, or that with bits
// set that the kernel does not look at.
Outcome push_key_stroke(unsigned long request) {
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) return untried("make a terminal");
  const int end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
  if (end < 0) return untried("open a terminal");
  const char byte = 'x';
  return answered(syscall(SYS_ioctl, end, request, &byte));
}

Outcome try_lease(const char*, const char*) {
  const int fd = open("leased", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return untried("make a file");
  close(fd);
  return answered(fcntl(open("leased", O_RDONLY), F_SETLEASE, F_RDLCK));
}

// READ_IMPLIES_EXEC, alone and with `word` ("more") among other bits. To ask for the present one is allowed.
Outcome try_personality(const char* word, const char*) {
  if (personality(0xffffffff) < 0) return untried("ask for the personality");
  const unsigned long more = std::strcmp(word, "more") == 0 ? 0x80000000UL : 0;
  return answered(personality(more | READ_IMPLIES_EXEC));
}

// The range of a time zone is looked at after the permission, so this sets no clock anywhere.
Outcome try_time(const char*, const char*) {
  const struct timezone impossible { 100'000, 0 };
  return answered(syscall(SYS_settimeofday, nullptr, &impossible));
}

Outcome try_namespace(int flag) {
  return answered(unshare(flag));
}

// The same namespace that it is in: the call itself must be refused, whatever it is given.
Outcome try_setns(const char*, const char*) {
  const int fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return untried("/proc/self/ns/mnt");
  return answered(setns(fd, 0));
}

constexpr Try kTries[] = {
    {"mount", [](const char*, const char*) { return try_mount("tmpfs", nullptr); }},
    {"release-agent", [](const char*, const char*) { return try_mount("cgroup", "none,name=attacker"); }},
    {"fsopen", [](const char*, const char*) { return answered(syscall(SYS_fsopen, "tmpfs", 0)); }},
    {"open-tree",
     [](const char*, const char*) {
       return answered(syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
     }},
    {"remount",
     [](const char*, const char*) {
       return answered(mount(nullptr, "/proc/sys", nullptr, MS_REMOUNT | MS_BIND, nullptr));
     }},
    {"umount", [](const char*, const char*) { return answered(umount("/proc/sys")); }},
    // Of a disk, and of the machine's memory in the directory where programs look for it.
    {"mknod-block", [](const char*, const char*) { return try_node("disk", S_IFBLK, 254, 0); }},
    {"mknod-mem", [](const char*, const char*) { return try_node("/dev/attackers-mem", S_IFCHR, 1, 1); }},
    // One byte is no module, which is seen after the permission.
    {"module", [](const char*, const char*) { return answered(syscall(SYS_init_module, "x", 1UL, "")); }},
    {"module-file", [](const char*, const char*) { return answered(syscall(SYS_finit_module, -1, "", 0)); }},
    // There are no such flags, which is seen after the permission: otherwise this would unload what is
    // loaded.
    {"kexec",
     [](const char*, const char*) { return answered(syscall(SYS_kexec_load, 0UL, 0UL, nullptr, 0xffUL)); }},
    {"iopl", [](const char*, const char*) { return answered(iopl(3)); }},
    {"time", try_time},
    // A file that no mkswap has written to.
    {"swapon", [](const char*, const char*) { return answered(swapon("/etc/passwd", 0)); }},
    {"user-namespace", [](const char*, const char*) { return try_namespace(CLONE_NEWUSER); }},
    {"mount-namespace", [](const char*, const char*) { return try_namespace(CLONE_NEWNS); }},
    {"network-namespace", [](const char*, const char*) { return try_namespace(CLONE_NEWNET); }},
    // No arguments at all: a kernel that looks at the call finds them too short.
    {"clone3", [](const char*, const char*) { return answered(syscall(SYS_clone3, nullptr, 0UL)); }},
    {"setns", try_setns},
    {"bpf", try_bpf},
    {"perf", try_perf},
    {"io-uring", try_io_uring},
    {"io-uring-register", try_io_uring_register},
    {"userfaultfd", [](const char*, const char*) { return answered(syscall(SYS_userfaultfd, O_CLOEXEC)); }},
    {"fanotify", [](const char*, const char*) { return answered(fanotify_init(FAN_CLASS_NOTIF, 0)); }},
    {"key", try_key},
    {"log", [](const char*, const char*) { return answered(klogctl(10 /* how large it is */, nullptr, 0)); }},
    {"tiocsti", [](const char*, const char*) { return push_key_stroke(TIOCSTI); }},
    {"tiocsti-high", [](const char*, const char*) { return push_key_stroke(TIOCSTI | 1UL << 32); }},
    {"lease", try_lease},
    {"personality", try_personality},
    {"hostname", [](const char*, const char*) { return answered(sethostname("evil", 4)); }},
};

}  // namespace

std::span<const Try> tries_at_the_kernel() {
  return kTries;
}

}  // namespace attacker
