// Addresses that a process tree is tied to: "eth0:192.168.1.2/24", "192.168.1.4", "fd00::5/64", a host name,
// or an interface's name.
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"

namespace vs::isolation {

struct BindAddress {
  bool v6 = false;
  std::array<uint8_t, 16> bytes{};             // network order; the first 4 for IPv4
  unsigned prefix = 0;                         // 0: not said
  std::string device;                          // "": not said
  size_t size() const { return v6 ? 16 : 4; }  // of bytes
  std::string text() const;                    // without prefix: "192.168.1.2"
  bool operator==(const BindAddress&) const = default;
};

constexpr size_t kMostAddresses = 16;  // as the original

// [DEVICE:]ADDRESS[/LENGTH or /MASK]. Throws Error(Exit::usage) naming the text. No name is looked up.
BindAddress parse_address(const std::string& text);
// As --ip of chbind: an address, an interface (all its addresses), or a name for getaddrinfo.
std::vector<BindAddress> resolve_address(const std::string& text);

// Those of an interface; none if there is no such.
std::vector<BindAddress> addresses_of(const std::string& device);
// One more, unless it is no IPv4 or IPv6 address, needs a scope, or is there already.
void add_address_of(const sockaddr* from, std::vector<BindAddress>& found);

// Whether the address is on its device already.
bool is_present(const BindAddress& address);
// Adding and removing an alias by rtnetlink. Adding what is there is EEXIST in the Problem, removing what is
// not there succeeds.
Result add_alias(const BindAddress& address, const std::string& label);
Result remove_alias(const BindAddress& address);

}  // namespace vs::isolation
