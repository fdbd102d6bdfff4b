// Servers of the host and of guests. Each ends after half a minute, should nobody end it before.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "tests/isolation/root/attacker/address.h"
#include "tests/isolation/root/attacker/outcome.h"

namespace attacker {
namespace {

constexpr unsigned kLifetime = 30;

// Whole or not at all: whoever waits for the file must not read half of it.
void leave_note(const char* name, const std::string& line) {
  const std::string fresh = std::string(name) + ".new";
  FILE* out = fopen(fresh.c_str(), "w");
  std::fprintf(out, "%s\n", line.c_str());
  fclose(out);
  rename(fresh.c_str(), name);
}

std::string shown(const sockaddr_storage& from) {
  char text[64] = "";
  const void* bytes = from.ss_family == AF_INET6
                          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(from).sin6_addr)
                          : &reinterpret_cast<const sockaddr_in&>(from).sin_addr;
  return inet_ntop(from.ss_family, bytes, text, sizeof text);
}

// What getsockname says of the socket.
sockaddr_storage own_address(int fd) {
  sockaddr_storage at{};
  socklen_t size = sizeof at;
  getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
  return at;
}

// Answers each connection with the address that it comes from.
Outcome answer_connections(int fd) {
  for (alarm(kLifetime);;) {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    const int client = accept(fd, reinterpret_cast<sockaddr*>(&from), &size);
    const std::string line = shown(from) + "\n";
    if (write(client, line.data(), line.size()) < 0) return untried("answer");
    close(client);
  }
}

// A socket that listens at the address; negative, with errno, if that is refused.
int listen_at(const Address& at, bool six_only = false) {
  const int fd = socket(at.family(), SOCK_STREAM, 0), on = 1, only = six_only ? 1 : 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (at.family() == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  if (bind(fd, at.get(), at.size()) != 0 || listen(fd, 5) != 0) return -1;
  return fd;
}

Outcome serve_here(const char* text, const char* port) {
  const int fd = listen_at(Address(text, port_of(port)));
  return fd < 0 ? answered(-1) : answer_connections(fd);
}

// At any address of IPv4; leaves in /served what it is bound to.
Outcome serve(const char* port, const char*) {
  const int fd = listen_at(Address("0.0.0.0", port_of(port)));
  if (fd < 0) return answered(-1);
  leave_note("/served", shown(own_address(fd)));
  return answer_connections(fd);
}

// At [::], of IPv6 only or of both kinds; the same in /served6.
Outcome serve6(const char* port, const char* kind) {
  const int fd = listen_at(Address("::", port_of(port)), std::strcmp(kind, "only") == 0);
  if (fd < 0) return answered(-1);
  leave_note("/served6", shown(own_address(fd)));
  return answer_connections(fd);
}

// Listens without bind: the kernel takes any port of any address, which is left in /port.
Outcome listen_anywhere(const char*, const char*) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (listen(fd, 5) != 0) return answered(-1);
  const auto at = own_address(fd);
  leave_note("/port", std::to_string(ntohs(reinterpret_cast<const sockaddr_in&>(at).sin_port)));
  return answer_connections(fd);
}

constexpr Try kServers[] = {
    {"serve-here", serve_here}, {"serve", serve}, {"serve6", serve6}, {"listen", listen_anywhere}};

}  // namespace

std::span<const Try> servers() {
  return kServers;
}

}  // namespace attacker
