// Socket addresses from text, for attempts and servers.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace attacker {

inline uint16_t port_of(const char* text) {
  return static_cast<uint16_t>(std::atoi(text));
}

// IPv4, or IPv6 if the text has a colon.
class Address {
 public:
  Address(const char* text, uint16_t port) {
    if (std::strchr(text, ':') != nullptr) {
      auto& six = as_.six;
      six.sin6_family = AF_INET6;
      six.sin6_port = htons(port);
      inet_pton(AF_INET6, text, &six.sin6_addr);
    } else {
      auto& four = as_.four;
      four.sin_family = AF_INET;
      four.sin_port = htons(port);
      inet_pton(AF_INET, text, &four.sin_addr);
    }
  }
  int family() const { return as_.any.sa_family; }
  const sockaddr* get() const { return &as_.any; }
  socklen_t size() const { return family() == AF_INET6 ? sizeof as_.six : sizeof as_.four; }
  const in_addr& four() const { return as_.four.sin_addr; }

 private:
  union {
    sockaddr any;
    sockaddr_in four;
    sockaddr_in6 six;
  } as_{};
};

}  // namespace attacker
