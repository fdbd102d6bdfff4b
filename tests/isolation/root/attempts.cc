#include "tests/isolation/root/attempts.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <stdexcept>

#include "tests/support/within.h"

namespace vs::test {
namespace {

constexpr const char* kAttacker = VS_BINARY_DIR "/isolation_attacker";
// Of the host, and no guest's.
constexpr const char* kAddresses[] = {"10.98.0.1/32", "10.99.0.6/32"};
constexpr const char *kFirstServer = "127.0.0.1", *kSecondServer = "127.0.0.2", *kPort = "7001";

const std::vector<OtherAnswer> kNoModules = {
    {"ENOEXEC", "the permission is there, the image is no module"},
    {"EBADF", "the permission is there, the file is not"},
    {"ENOSYS", "this kernel loads no modules", true},
};
const std::vector<OtherAnswer> kNoKexec = {
    {"EINVAL", "the permission is there, the flags are impossible"},
    {"ENOSYS", "this kernel has no kexec", true},
};
const std::vector<OtherAnswer> kNoFile = {{"ENOENT", "this kernel has no such file", true}};

std::vector<Attempt> table() {
  using enum Outside;
  return {
      {"mounts", "mount", "mount", "EPERM"},
      {"mounts", "fsopen", "fsopen", "EPERM"},
      {"mounts", "open_tree", "open-tree", "EPERM"},
      {"mounts", "remount", "remount", "EPERM"},
      {"mounts", "umount", "umount", "EPERM"},
      {"mounts", "cgroup_v1", "release-agent", "EPERM"},
      {"mounts", "block_device", "mknod-block", "EPERM"},
      {"mounts", "memory_device", "mknod-mem", "EPERM"},
      {"mounts", "user_namespace", "user-namespace", "EPERM"},
      {"mounts", "mount_namespace", "mount-namespace", "EPERM"},
      {"mounts", "network_namespace", "network-namespace", "EPERM"},
      {.group = "mounts",
       .name = "clone3",
       .words = "clone3",
       .inside = "ENOSYS",
       .others = {{"EINVAL", "the kernel looks at the call and finds no arguments"}}},
      {"mounts", "setns", "setns", "EPERM"},
      {"mounts", "file_handle", "handle", "EPERM"},

      {.group = "kernel", .name = "module", .words = "module", .inside = "EPERM", .others = kNoModules},
      {.group = "kernel",
       .name = "module_from_a_file",
       .words = "module-file",
       .inside = "EPERM",
       .others = kNoModules},
      {.group = "kernel", .name = "kexec", .words = "kexec", .inside = "EPERM", .others = kNoKexec},
      {.group = "kernel",
       .name = "iopl",
       .words = "iopl",
       .inside = "EPERM",
       .others = {{"ENOSYS", "this kernel gives nobody raw ports", true}}},
      {.group = "kernel",
       .name = "clock",
       .words = "time",
       .inside = "EPERM",
       .others = {{"EINVAL", "the permission is there, the time zone is impossible"}}},
      {.group = "kernel",
       .name = "swapon",
       .words = "swapon",
       .inside = "EPERM",
       .others = {{"EINVAL", "the permission is there, the file is no swap space"},
                  {"ENOSYS", "this kernel does not swap", true}}},
      {"kernel", "bpf", "bpf", "EPERM"},
      {"kernel", "perf", "perf", "EPERM"},
      {.group = "kernel",
       .name = "io_uring",
       .words = "io-uring",
       .inside = "EPERM",
       .others = {{"ENOSYS", "this kernel has no io_uring", true},
                  {"EPERM", "kernel.io_uring_disabled keeps it from everybody", true}}},
      {.group = "kernel",
       .name = "io_uring_register",
       .words = "io-uring-register",
       .inside = "EPERM",
       .others = {{"EBADF", "the kernel looks for the ring"},
                  {"ENOSYS", "this kernel has no io_uring", true}}},
      {.group = "kernel",
       .name = "userfaultfd",
       .words = "userfaultfd",
       .inside = "EPERM",
       .others = {{"ENOSYS", "this kernel has no userfaultfd", true}}},
      {"kernel", "fanotify", "fanotify", "EPERM"},
      {"kernel", "key", "key", "EPERM"},
      {"kernel", "kernel_log", "log", "EPERM"},
      {.group = "kernel",
       .name = "tiocsti",
       .words = "tiocsti",
       .inside = "EPERM",
       .others = {{"EIO", "dev.tty.legacy_tiocsti keeps it from everybody", true}}},
      {.group = "kernel",
       .name = "tiocsti_with_high_bits",
       .words = "tiocsti-high",
       .inside = "EPERM",
       .others = {{"EIO", "dev.tty.legacy_tiocsti keeps it from everybody", true}}},
      {"kernel", "lease", "lease", "EINVAL"},
      {"kernel", "executable_data", "personality", "EPERM"},
      {"kernel", "executable_data_and_more", "personality more", "EPERM"},
      // It is the guest's own; the row with USERNS is given CAP_SYS_ADMIN, which is over its own things only.
      {"kernel", "host_name", "hostname", "EPERM", "WORKED"},

      {.group = "files",
       .name = "core_pattern",
       .words = "write /proc/sys/kernel/core_pattern",
       .inside = "EROFS",
       .user_namespace = "EACCES",
       .others = kNoFile},
      {.group = "files",
       .name = "modprobe",
       .words = "write /proc/sys/kernel/modprobe",
       .inside = "EROFS",
       .user_namespace = "EACCES",
       .others = kNoFile},
      {.group = "files",
       .name = "sysrq",
       .words = "write /proc/sysrq-trigger",
       .inside = "EROFS",
       .user_namespace = "EACCES",
       .others = kNoFile},
      {.group = "files",
       .name = "exe_of_process_1",
       .words = "write /proc/1/exe",
       .inside = "EACCES",
       .outside = kProcesses,
       .others = {{"ETXTBSY", "the permission is there, the program runs"}}},
      {.group = "files",
       .name = "uevent_helper",
       .words = "write /sys/kernel/uevent_helper",
       .inside = "EROFS",
       .user_namespace = "EACCES",
       .others = kNoFile},
      {.group = "files",
       .name = "power_state",
       .words = "write /sys/power/state",
       .inside = "EROFS",
       .user_namespace = "EACCES",
       .others = kNoFile},
      {.group = "files",
       .name = "kcore",
       .words = "read /proc/kcore",
       .inside = "ENODATA",
       .others = kNoFile},
      {.group = "files",
       .name = "kallsyms",
       .words = "read /proc/kallsyms",
       .inside = "ENODATA",
       .others = kNoFile},
      {.group = "files", .name = "keys", .words = "read-keys", .inside = "ENODATA", .others = kNoFile},
      {.group = "files",
       .name = "kmsg",
       .words = "read /proc/kmsg",
       .inside = "ENODATA",
       .others = {{"ENOENT", "this kernel has no such file", true},
                  {"EAGAIN", "the permission is there, nothing new is in the log"}}},
      {.group = "files",
       .name = "timer_list",
       .words = "read /proc/timer_list",
       .inside = "ENODATA",
       .others = kNoFile},
      {.group = "files",
       .name = "environment_of_process_1",
       .words = "read /proc/1/environ",
       .inside = "EACCES",
       .outside = kProcesses},
      {.group = "files",
       .name = "maps_of_process_1",
       .words = "read /proc/1/maps",
       .inside = "EACCES",
       .outside = kProcesses},

      {"outside", "canary", "exists {canary}", "ENOENT"},
      {.group = "outside",
       .name = "double_chroot",
       .words = "double-chroot {canary}",
       .inside = "ENOENT",
       .outside = kChroot},
      {"outside", "own_directory", "exists /proc/self/cwd{canary}", "ENOENT"},
      {"outside", "own_root", "exists /proc/self/root{canary}", "ENOENT"},
      {.group = "outside",
       .name = "directory_of_process_1",
       .words = "exists /proc/1/cwd{canary}",
       .inside = "EACCES",
       .outside = kProcesses},
      {.group = "outside",
       .name = "root_of_process_1",
       .words = "exists /proc/1/root{canary}",
       .inside = "EACCES",
       .outside = kProcesses},
      {.group = "outside",
       .name = "descriptors",
       .words = "descriptors",
       .inside = "EBADF",
       .outside = kLeaky},
      {.group = "outside",
       .name = "capabilities",
       .words = "inheritable",
       .inside = "EPERM",
       .outside = kLeaky},

      {"processes", "kill", "kill {self}", "ESRCH"},
      {"processes", "ptrace", "ptrace {self}", "ESRCH"},
      {"processes", "its_directory", "exists /proc/{self}/stat", "ENOENT"},

      {"addresses", "bind_to_the_hosts", "bind 10.98.0.1", "EADDRNOTAVAIL"},
      {"addresses", "bind_to_a_neighbours", "bind 10.99.0.6", "EADDRNOTAVAIL"},
      {"addresses", "bind_to_127_0_0_2", "bind 127.0.0.2", "EADDRNOTAVAIL", nullptr, "WORKED"},
      {"addresses", "bind_to_the_hosts_mapped", "bind-mapped 10.98.0.1", "EADDRNOTAVAIL"},
      {"addresses", "bind_to_a_neighbours_mapped", "bind-mapped 10.99.0.6", "EADDRNOTAVAIL"},
      {"addresses", "bind_to_127_0_0_2_mapped", "bind-mapped 127.0.0.2", "EADDRNOTAVAIL", nullptr, "WORKED"},
      {"addresses", "send_as_another", "spoof 10.98.0.1", "EADDRNOTAVAIL", nullptr, "ENETUNREACH"},
      {"addresses", "ping_as_another", "ping-from 10.98.0.1", "EPERM", nullptr, "EACCES"},
      {"addresses", "raw_socket", "raw", "EPERM"},
      {"addresses", "packet_socket", "packet", "EAFNOSUPPORT", nullptr, "EPERM"},
      {"addresses", "server_on_127_0_0_1", "connect 127.0.0.1 7001", "ECONNREFUSED"},
      {"addresses", "server_on_127_0_0_2", "connect 127.0.0.2 7001", "EADDRNOTAVAIL", nullptr,
       "ECONNREFUSED"},
  };
}

// Shell for what is around the attacker; "$0" is the attacker, "$@" its words.
std::string surroundings(Outside outside, const std::string& scratch) {
  const std::string mounts = "mount --bind /proc/sys /proc/sys && cd " + scratch + " && ";
  switch (outside) {
    case Outside::kMounts:
      return mounts + "exec \"$0\" \"$@\"";
    case Outside::kProcesses:  // not exec: the shell is to stay process 1
      return "cd / && \"$0\" \"$@\"; exit $?";
    case Outside::kChroot:
      return "cp \"$0\" " + scratch + "/attacker && exec chroot " + scratch + " /attacker \"$@\"";
    case Outside::kLeaky:
      return "exec 7</dev/null; exec setpriv --inh-caps=+net_raw \"$0\" \"$@\"";
  }
  throw std::logic_error("no such surroundings");
}

}  // namespace

std::string Attempt::expected(Confined mode) const {
  if (mode == Confined::kUserNamespace && user_namespace != nullptr) return user_namespace;
  if (mode == Confined::kPrivateNetwork && private_network != nullptr) return private_network;
  return inside;
}

const std::vector<Attempt>& attempts() {
  static const std::vector<Attempt> all = table();
  return all;
}

std::string outcome(const RunResult& result) {
  std::istringstream lines(result.out);
  std::string last;
  for (std::string line; std::getline(lines, line);) last = line;
  return last;
}

Targets::Targets() {
  write_file(dir_ / "canary", "host");
  std::filesystem::create_directories(dir_ / "scratch");
  for (const char* address : kAddresses) must_run({"ip", "addr", "add", address, "dev", "lo"});
  // Otherwise nobody in this network may ping, and a refusal would say nothing about addresses.
  write_file("/proc/sys/net/ipv4/ping_group_range", "0 4294967294");
  for (const char* address : {kFirstServer, kSecondServer}) {
    servers_.push_back(std::make_unique<Process>(Command{kAttacker, "serve-here", address, kPort}));
    if (!within(std::chrono::seconds(10), [&] {
          return outcome(run({kAttacker, "connect", address, kPort})) == "WORKED";
        }))
      throw std::runtime_error(std::string("no server at ") + address);
  }
}

Targets::~Targets() {
  for (const char* address : kAddresses) run({"ip", "addr", "del", address, "dev", "lo"});
}

Command Targets::words_of(const Attempt& attempt) const {
  Command words;
  std::istringstream given(fmt::format(fmt::runtime(attempt.words), fmt::arg("canary", dir_ / "canary"),
                                       fmt::arg("self", ::getpid())));
  for (std::string word; given >> word;) words.push_back(word);
  return words;
}

RunResult Targets::attempt_outside(const Attempt& attempt) const {
  Command command = {"unshare", "--mount", "--uts", "--ipc", "--propagation", "private"};
  if (attempt.outside == Outside::kProcesses)
    command.insert(command.end(), {"--pid", "--fork", "--mount-proc"});
  command.insert(command.end(), {"sh", "-c", surroundings(attempt.outside, dir_ / "scratch"), kAttacker});
  for (const auto& word : words_of(attempt)) command.push_back(word);
  return run(command);
}

}  // namespace vs::test
