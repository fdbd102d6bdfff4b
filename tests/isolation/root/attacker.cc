// What root inside a guest would try, compiled statically and put into its tree. `attacker NAME [WORD]` exits
// 0 when the attempt was DENIED, 1 when it worked, 2 when it could not be tried.
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

int denied(const char* what, long result) {
  std::printf("%s: %s\n", what, result < 0 ? std::strerror(errno) : "WORKED");
  return result < 0 ? 0 : 1;
}

sockaddr_in address(const char* text, uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  inet_pton(AF_INET, text, &result.sin_addr);
  return result;
}

int try_bind(const char* text) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const auto to = address(text, 0);
  return denied("bind", bind(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to));
}

int try_bind_mapped(const char* text) {
  const int fd = socket(AF_INET6, SOCK_STREAM, 0);
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  inet_pton(AF_INET6, (std::string("::ffff:") + text).c_str(), &to.sin6_addr);
  return denied("bind to a mapped address", bind(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to));
}

// A datagram that says it comes from another address of the host.
int try_spoof(const char* text) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  const auto to = address(text, 9);
  char byte = 'x';
  iovec data{&byte, 1};
  union {
    char bytes[CMSG_SPACE(sizeof(in_pktinfo))];
    cmsghdr align;
  } control{};
  msghdr message{};
  message.msg_name = const_cast<sockaddr_in*>(&to);
  message.msg_namelen = sizeof to;
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = IPPROTO_IP;
  header->cmsg_type = IP_PKTINFO;
  header->cmsg_len = CMSG_LEN(sizeof(in_pktinfo));
  in_pktinfo info{};
  info.ipi_spec_dst = to.sin_addr;
  std::memcpy(CMSG_DATA(header), &info, sizeof info);
  return denied("send from another address", sendmsg(fd, &message, 0));
}

sockaddr_in6 address6(const char* text, uint16_t port) {
  sockaddr_in6 result{};
  result.sin6_family = AF_INET6;
  result.sin6_port = htons(port);
  inet_pton(AF_INET6, text, &result.sin6_addr);
  return result;
}

// For the host's side: binds to the address, IPv4 or IPv6; answers each connection with the IPv4 address it
// comes from, or "6".
int serve_here(const char* text, const char* port) {
  const auto number = static_cast<uint16_t>(std::atoi(port));
  const bool six = std::strchr(text, ':') != nullptr;
  const int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0), on = 1;
  const auto at4 = address(text, number);
  const auto at6 = address6(text, number);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const int bound = six ? bind(fd, reinterpret_cast<const sockaddr*>(&at6), sizeof at6)
                        : bind(fd, reinterpret_cast<const sockaddr*>(&at4), sizeof at4);
  if (bound != 0 || listen(fd, 5) != 0) return denied("serve", -1), 2;
  for (alarm(30);;) {
    sockaddr_in from{};
    socklen_t size = sizeof from;
    char shown[64] = "6";
    const int client = accept(fd, reinterpret_cast<sockaddr*>(&from), &size);
    if (!six) inet_ntop(AF_INET, &from.sin_addr, shown, sizeof shown);
    const std::string line = std::string(shown) + "\n";
    if (write(client, line.data(), line.size()) < 0) return 2;
    close(client);
  }
}

int try_connect6(const char* text, const char* port) {
  const int fd = socket(AF_INET6, SOCK_STREAM, 0);
  const auto to = address6(text, static_cast<uint16_t>(std::atoi(port)));
  alarm(3);
  signal(SIGALRM, [](int) { _exit(0); });
  return denied("connect", connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to));
}

int try_bind6(const char* text) {
  const int fd = socket(AF_INET6, SOCK_STREAM, 0);
  const auto to = address6(text, 0);
  return denied("bind", bind(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to));
}

// Binds to [::], port `word`; prints to /served6 what getsockname says; answers each connection with the
// address it comes from.
int serve6(const char* port, bool only) {
  const int fd = socket(AF_INET6, SOCK_STREAM, 0), on = 1, six = only ? 1 : 0;
  auto at = address6("::", static_cast<uint16_t>(std::atoi(port)));
  socklen_t size = sizeof at;
  char text[64];
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &six, sizeof six);
  if (bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 || listen(fd, 5) != 0)
    return denied("serve", -1), 2;
  getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
  FILE* out = fopen("/served6.new", "w");
  std::fprintf(out, "%s\n", inet_ntop(AF_INET6, &at.sin6_addr, text, sizeof text));
  fclose(out);
  rename("/served6.new", "/served6");
  alarm(30);
  for (;;) {
    size = sizeof at;
    const int client = accept(fd, reinterpret_cast<sockaddr*>(&at), &size);
    const std::string line = std::string(inet_ntop(AF_INET6, &at.sin6_addr, text, sizeof text)) + "\n";
    if (write(client, line.data(), line.size()) < 0) return 2;
    close(client);
  }
}

// One datagram to itself over ::1; exits 1 when it came back from ::1.
int datagram_to_itself(const char*) {
  const int fd = socket(AF_INET6, SOCK_DGRAM, 0), client = socket(AF_INET6, SOCK_DGRAM, 0);
  auto at = address6("::1", 0);
  socklen_t size = sizeof at;
  char byte = 'x', text[64];
  if (bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) != 0)
    return denied("bind", -1), 2;
  if (sendto(client, &byte, 1, 0, reinterpret_cast<sockaddr*>(&at), sizeof at) != 1)
    return denied("send", -1);
  alarm(3);
  if (recvfrom(fd, &byte, 1, 0, reinterpret_cast<sockaddr*>(&at), &size) != 1) return denied("receive", -1);
  inet_ntop(AF_INET6, &at.sin6_addr, text, sizeof text);
  std::printf("from %s\n", text);
  return std::strcmp(text, "::1") == 0 ? 1 : 0;
}

// A packet made by hand, with another address of the host as its source.
int try_raw_spoof(const char* text) {
  const int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  if (fd < 0) return 2;
  const auto to = address(text, 0);
  unsigned char packet[28] = {0x45, 0, 0, 28, 0, 0, 0, 0, 64, IPPROTO_UDP};
  std::memcpy(packet + 12, &to.sin_addr, 4);
  std::memcpy(packet + 16, &to.sin_addr, 4);
  packet[25] = 8;
  return denied("send a raw packet from another address",
                sendto(fd, packet, sizeof packet, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to));
}

// A raw socket gets a copy of every datagram that comes to the host. `text`: the destination of those that
// are looked for.
int try_receive(const char* text) {
  const int fd = socket(AF_INET, SOCK_RAW, IPPROTO_UDP);
  if (fd < 0) return 2;
  const auto wanted = address(text, 0);
  FILE* ready = fopen("/listening", "w");
  fclose(ready);
  unsigned char packet[2048];
  alarm(3);
  signal(SIGALRM, [](int) { _exit(0); });
  while (recv(fd, packet, sizeof packet, 0) >= 20)
    if (std::memcmp(packet + 16, &wanted.sin_addr, 4) == 0)
      return denied("receive what is for another address", 1);
  return 2;
}

int try_ping_from(const char* text) {
  const int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
  if (fd < 0) return denied("ping", -1);
  const auto from = address(text, 0);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0)
    return denied("ping from another address", -1);
  const unsigned char echo[8] = {8};
  const auto to = address(text, 0);
  unsigned char answer[64];
  alarm(2);
  signal(SIGALRM, [](int) { _exit(0); });
  if (sendto(fd, echo, sizeof echo, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to) < 0)
    return denied("ping from another address", -1);
  return denied("ping from another address", recv(fd, answer, sizeof answer, 0));
}

// System V memory, semaphores and queues by the key of one that the host has.
int try_ipc(const char* key) {
  const auto number = static_cast<key_t>(std::strtol(key, nullptr, 0));
  const int worked = (shmget(number, 0, 0) >= 0) + (semget(number, 0, 0) >= 0) + (msgget(number, 0) >= 0);
  std::printf("%d worked\n", worked);
  return worked != 0;
}

int try_connect(const char* text, const char* port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const auto to = address(text, static_cast<uint16_t>(std::atoi(port)));
  alarm(3);
  signal(SIGALRM, [](int) { _exit(0); });
  return denied("connect", connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to));
}

int try_abstract(const char* name) {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strncpy(to.sun_path + 1, name, sizeof to.sun_path - 2);
  return denied("connect to an abstract socket of the host",
                connect(fd, reinterpret_cast<const sockaddr*>(&to),
                        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + std::strlen(name))));
}

// The classic: a directory kept open outside of a second chroot, then up.
int try_double_chroot(const char* canary) {
  mkdir("/jail", 0755);
  const int above = open("/", O_RDONLY | O_DIRECTORY);
  if (chroot("/jail") != 0 || fchdir(above) != 0) return 2;
  for (int i = 0; i < 64; ++i)
    if (chdir("..") != 0) return 2;
  if (chroot(".") != 0) return 2;
  return denied("see a file of the host", access(canary, F_OK));
}

int try_open_write(const char* path) {
  return denied(path, open(path, O_WRONLY));
}
int try_open_read(const char* path) {
  const int fd = open(path, O_RDONLY);
  char byte = 0;
  return denied(path, fd < 0 ? -1 : read(fd, &byte, 1) == 1 ? 1 : (errno = ENODATA, -1));
}

int try_unseal(const char* path) {
  const int fd = open(path, O_RDONLY);
  int flags = 0;
  if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0 || !(flags & FS_IMMUTABLE_FL)) return 2;
  flags &= ~FS_IMMUTABLE_FL;
  return denied("remove the seal", ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

int try_leave_project(const char* path) {
  const int fd = open(path, O_RDONLY);
  fsxattr attributes{};
  if (fd < 0 || ioctl(fd, FS_IOC_FSGETXATTR, &attributes) != 0) return 2;
  attributes.fsx_projid = 0;
  attributes.fsx_xflags &= ~static_cast<unsigned>(FS_XFLAG_PROJINHERIT);
  return denied("leave the project that is counted", ioctl(fd, FS_IOC_FSSETXATTR, &attributes));
}

int try_handle(const char*) {
  struct {
    file_handle handle;
    unsigned char bytes[8];
  } root{};
  root.handle.handle_bytes = 8;
  root.handle.handle_type = 1;
  const uint32_t inode = 2;
  std::memcpy(root.handle.f_handle, &inode, 4);
  const int at = open("/", O_RDONLY);
  return denied("open by handle", open_by_handle_at(at, &root.handle, O_RDONLY));
}

// Descriptors: 0, 1, 2 and the one that lists them. Nothing else may have been inherited.
int no_descriptors(const char*) {
  DIR* dir = opendir("/proc/self/fd");
  if (dir == nullptr) return 2;
  int worst = 0;
  while (const dirent* entry = readdir(dir)) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] == '.' || fd <= 2 || fd == dirfd(dir)) continue;
    std::printf("descriptor %d is open\n", fd);
    worst = 1;
  }
  return worst;
}

int inheritable_is_empty(const char*) {
  FILE* file = fopen("/proc/self/status", "r");
  char line[256];
  while (file != nullptr && fgets(line, sizeof line, file) != nullptr)
    if (std::strncmp(line, "CapInh:", 7) == 0) return std::strtoull(line + 7, nullptr, 16) == 0 ? 0 : 1;
  return 2;
}

int try_key(const char*) {
  return denied("add a key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
}

int run(const std::string& name, const char* word, const char* second) {
  if (name == "mount") return denied("mount", mount("tmpfs", "/tmp", "tmpfs", 0, nullptr));
  if (name == "fsopen") return denied("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
  if (name == "remount")
    return denied("remount", mount(nullptr, "/proc/sys", nullptr, MS_REMOUNT | MS_BIND, nullptr));
  if (name == "umount") return denied("umount", umount("/proc/sys"));
  if (name == "release-agent")
    return denied("mount cgroup v1", mount("cgroup", "/tmp", "cgroup", 0, "memory"));
  if (name == "mknod-block") return denied("mknod", mknod("/tmp/disk", S_IFBLK | 0600, makedev(254, 0)));
  if (name == "mknod-mem") return denied("mknod", mknod("/dev/mem", S_IFCHR | 0600, makedev(1, 1)));
  if (name == "module") return denied("init_module", syscall(SYS_init_module, "x", 1UL, ""));
  if (name == "kexec") return denied("kexec", syscall(SYS_kexec_load, 0UL, 0UL, nullptr, 0UL));
  if (name == "iopl") return denied("iopl", iopl(3));
  if (name == "time") {
    timeval now{};
    gettimeofday(&now, nullptr);
    return denied("settimeofday", settimeofday(&now, nullptr));
  }
  if (name == "swapon") return denied("swapon", swapon("/etc/passwd", 0));
  if (name == "user-namespace") return denied("unshare", unshare(CLONE_NEWUSER));
  if (name == "mount-namespace") return denied("unshare", unshare(CLONE_NEWNS));
  if (name == "setns") return denied("setns", setns(open("/proc/1/ns/mnt", O_RDONLY), 0));
  if (name == "bpf") return denied("bpf", syscall(SYS_bpf, 0, nullptr, 0));
  if (name == "perf") return denied("perf", syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0));
  if (name == "io-uring") return denied("io_uring", syscall(SYS_io_uring_setup, 1, nullptr));
  if (name == "key") return try_key(word);
  if (name == "tiocsti") {
    char byte = 'x';
    return denied("TIOCSTI", ioctl(0, TIOCSTI, &byte));
  }
  if (name == "lease") return denied("lease", fcntl(open("/etc/passwd", O_RDONLY), F_SETLEASE, F_RDLCK));
  if (name == "raw") return denied("raw socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
  if (name == "raw-spoof") return try_raw_spoof(word);
  if (name == "receive") return try_receive(word);
  if (name == "ping-from") return try_ping_from(word);
  if (name == "ipc") return try_ipc(word);
  if (name == "packet") return denied("packet socket", socket(17, SOCK_RAW, 0));
  if (name == "bind") return try_bind(word);
  if (name == "bind-mapped") return try_bind_mapped(word);
  if (name == "spoof") return try_spoof(word);
  if (name == "connect") return try_connect(word, second);
  if (name == "connect6") return try_connect6(word, second);
  if (name == "bind6") return try_bind6(word);
  if (name == "serve6") return serve6(word, std::strcmp(second, "only") == 0);
  if (name == "datagram6") return datagram_to_itself(word);
  if (name == "abstract") return try_abstract(word);
  if (name == "double-chroot") return try_double_chroot(word);
  if (name == "write") return try_open_write(word);
  if (name == "read") return try_open_read(word);
  if (name == "exists") return denied(word, access(word, F_OK));
  if (name == "kill") return denied("kill", kill(std::atoi(word), 0));
  if (name == "ptrace") return denied("ptrace", ptrace(PTRACE_ATTACH, std::atoi(word), nullptr, nullptr));
  if (name == "unseal") return try_unseal(word);
  if (name == "leave-project") return try_leave_project(word);
  if (name == "handle") return try_handle(word);
  if (name == "descriptors") return no_descriptors(word);
  if (name == "inheritable") return inheritable_is_empty(word);
  if (name == "personality") {
    if (personality(0xffffffff) < 0) return 2;  // asking is allowed
    return denied(
        "make readable memory executable",
        personality(READ_IMPLIES_EXEC) < 0 && personality(0x80000000UL | READ_IMPLIES_EXEC) < 0 ? -1 : 1);
  }
  if (name == "hostname") return denied("sethostname", sethostname("evil", 4));
  if (name == "flood") {  // a thousand connections that say nothing; as many as the queue holds stay open
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::strncpy(to.sun_path, word, sizeof to.sun_path - 1);
    int open_ones = 0;
    for (int i = 0; i < 1000; ++i) {
      const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
      open_ones += connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
    }
    std::printf("%d open\n", open_ones);
    std::fflush(stdout);
    sleep(30);
    return 0;
  }
  if (name == "ask") {  // writes `second` to the socket `word`
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::strncpy(to.sun_path, word, sizeof to.sun_path - 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) return denied("ask", -1);
    return write(fd, second, std::strlen(second)) < 0 ? 2 : 1;
  }
  if (name == "replace") {  // each way to put something else in the place of the socket; all must fail
    const std::string socket_name = std::string(word) + "/reboot";
    int worked = 0;
    worked += unlink(socket_name.c_str()) == 0;
    worked += symlink("/etc/passwd", (std::string(word) + "/other").c_str()) == 0;
    worked += rename("/etc/passwd", socket_name.c_str()) == 0;
    worked += rename(word, "/dev/elsewhere") == 0;
    worked += rmdir(word) == 0;
    worked += chmod(socket_name.c_str(), 0666) == 0;
    worked += umount2(word, MNT_DETACH) == 0;
    worked += mount(nullptr, word, nullptr, MS_REMOUNT | MS_BIND, nullptr) == 0;
    worked += open((std::string(word) + "/file").c_str(), O_CREAT | O_WRONLY, 0600) >= 0;
    std::printf("%d worked\n", worked);
    return worked != 0;
  }
  if (name ==
      "listen") {  // listen without bind: the kernel takes any port of any address; prints it and waits
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in at{};
    socklen_t size = sizeof at;
    if (listen(fd, 5) != 0 || getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) != 0) return 2;
    FILE* out = fopen("/port", "w");
    std::fprintf(out, "%d\n", ntohs(at.sin_port));
    fclose(out);
    sleep(30);
    return 0;
  }
  if (name == "serve-here") return serve_here(word, second);
  if (name ==
      "serve") {  // binds to any address, port `word`; prints what getsockname says; answers one connection
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    auto at = address("0.0.0.0", static_cast<uint16_t>(std::atoi(word)));
    socklen_t size = sizeof at;
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 || listen(fd, 5) != 0)
      return denied("serve", -1), 2;
    getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
    FILE* out = fopen("/served.new", "w");  // who waits for it must not read half of it
    char text[64];
    std::fprintf(out, "%s\n", inet_ntop(AF_INET, &at.sin_addr, text, sizeof text));
    fclose(out);
    rename("/served.new", "/served");
    alarm(30);
    for (;;) {
      sockaddr_in from{};
      size = sizeof from;
      const int client = accept(fd, reinterpret_cast<sockaddr*>(&from), &size);
      const std::string line = std::string(inet_ntop(AF_INET, &from.sin_addr, text, sizeof text)) + "\n";
      if (write(client, line.data(), line.size()) < 0) return 2;
      close(client);
    }
  }
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  return run(argv[1], argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "");
}
