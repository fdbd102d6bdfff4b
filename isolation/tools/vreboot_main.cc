// vreboot, vhalt: inside a vserver, ask the host for its restart or its end. Static and without anything of
// ours: it runs in trees of any kind.
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

namespace {

constexpr const char kHelp[] =
    "usage: %s [--socket PATH]\n"
    "Inside a vserver: asks the host to restart it (vreboot) or to stop it (vhalt). Done by rebootmgr on the "
    "host, in the guest's own way of shutting down.\n\n"
    "Options:\n"
    "  --socket PATH             where to ask (/dev/reboot)\n"
    "  --help                    this text\n"
    "  --version                 the version\n\n"
    "Exit codes: 0 asked, 1 nobody takes the request, 2 usage.\nExample:    %s\n";

int failed(const char* program, const char* what, const char* where) {
  std::fprintf(stderr, "%s: error: cannot %s %s: %s\n", program, what, where, std::strerror(errno));
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const char* slash = std::strrchr(argv[0], '/');
  const char* program = slash == nullptr ? argv[0] : slash + 1;
  const char* path = "/dev/reboot";
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--help") return std::printf(kHelp, program, program) < 0;
    if (word == "--version") return std::printf("%s %s\n", program, VS_VERSION) < 0;
    if (word != "--socket" || i + 1 == argc) {
      std::fprintf(stderr, "%s: error: expected --socket PATH or nothing; see %s --help\n", program, program);
      return 2;
    }
    path = argv[++i];
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return failed(program, "ask at", path);
  }
  std::strcpy(address.sun_path, path);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return failed(program, "ask rebootmgr of the host at", path);
  const std::string_view wish = std::strstr(program, "halt") != nullptr ? "halt\n" : "reboot\n";
  if (::send(fd, wish.data(), wish.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(wish.size()))
    return failed(program, "write to", path);
  return 0;
}
