#include "isolation/network/bind_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "core/escape.h"
#include "isolation/network/rtnetlink.h"

namespace vs::isolation {
namespace {

[[noreturn]] void bad(const std::string& text, const std::string& expected) {
  throw Error(fmt::format("'{}': expected {}", escaped(text), expected), Exit::usage);
}

bool parse_number(const std::string& text, BindAddress& address) {
  address.v6 = text.find(':') != std::string::npos;
  return ::inet_pton(address.v6 ? AF_INET6 : AF_INET, text.c_str(), address.bytes.data()) == 1;
}

unsigned parse_prefix(const std::string& text, bool v6, const std::string& whole) {
  in_addr mask{};
  if (!v6 && ::inet_pton(AF_INET, text.c_str(), &mask) == 1) {
    const uint32_t bits = ntohl(mask.s_addr);
    const unsigned length = static_cast<unsigned>(std::countl_one(bits));
    if (length < 32 && (bits << length) != 0) bad(whole, "a netmask of ones and then zeroes");
    return length;
  }
  const unsigned most = v6 ? 128 : 32;
  if (text.empty() || text.size() > 3 || text.find_first_not_of("0123456789") != std::string::npos ||
      std::stoul(text) > most || std::stoul(text) == 0)
    bad(whole, fmt::format("a prefix length from 1 to {} or a netmask after '/'", most));
  return static_cast<unsigned>(std::stoul(text));
}

Expected<RouteRequest> request_for(const BindAddress& address, uint16_t type, uint16_t flags) {
  ifaddrmsg message{};
  message.ifa_family = address.v6 ? AF_INET6 : AF_INET;
  message.ifa_prefixlen = static_cast<uint8_t>(address.prefix != 0 ? address.prefix : address.v6 ? 128 : 32);
  message.ifa_flags = address.v6 ? IFA_F_NODAD : 0;  // else an IPv6 address cannot be bound for a second
  message.ifa_index = ::if_nametoindex(address.device.c_str());
  if (message.ifa_index == 0)
    return problem_from(ENODEV, "find the network interface", escaped(address.device));
  RouteRequest request(type, flags, message);
  request.add(IFA_LOCAL, address.bytes.data(), address.size());
  request.add(IFA_ADDRESS, address.bytes.data(), address.size());
  return request;
}

}  // namespace

std::string BindAddress::text() const {
  char buffer[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(v6 ? AF_INET6 : AF_INET, bytes.data(), buffer, sizeof buffer);
  return buffer;
}

BindAddress parse_address(const std::string& text) {
  const std::string expected = "[INTERFACE:]ADDRESS[/LENGTH or /MASK]";
  std::string rest = text;
  BindAddress address;
  if (const size_t slash = rest.find('/'); slash != std::string::npos) rest = rest.substr(0, slash);
  if (!parse_number(rest, address)) {
    const size_t colon = rest.find(':');
    if (colon == std::string::npos || colon == 0 || colon >= IFNAMSIZ) bad(text, expected);
    BindAddress behind;
    if (!parse_number(rest.substr(colon + 1), behind)) bad(text, expected);
    address = behind;
    address.device = rest.substr(0, colon);
  }
  if (const size_t slash = text.find('/'); slash != std::string::npos)
    address.prefix = parse_prefix(text.substr(slash + 1), address.v6, text);
  return address;
}

void add_address_of(const sockaddr* from, std::vector<BindAddress>& found) {
  BindAddress address;
  if (from == nullptr) return;
  if (from->sa_family == AF_INET) {
    std::memcpy(address.bytes.data(), &reinterpret_cast<const sockaddr_in*>(from)->sin_addr, 4);
  } else if (from->sa_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6*>(from)->sin6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&six)) return;  // needs a scope, which a bind rule does not have
    address.v6 = true;
    std::memcpy(address.bytes.data(), &six, 16);
  } else {
    return;
  }
  for (const auto& one : found)
    if (one == address) return;
  found.push_back(address);
}

std::vector<BindAddress> addresses_of(const std::string& device) {
  std::vector<BindAddress> found;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return found;
  for (const ifaddrs* one = list; one != nullptr; one = one->ifa_next) {
    // An alias eth0:web is an address of eth0 to everybody else.
    const std::string name = one->ifa_name;
    if (name == device || name.starts_with(device + ":")) add_address_of(one->ifa_addr, found);
  }
  ::freeifaddrs(list);
  return found;
}

bool is_present(const BindAddress& address) {
  for (const auto& one : addresses_of(address.device))
    if (one.v6 == address.v6 && one.bytes == address.bytes) return true;
  return false;
}

Result add_alias(const BindAddress& address, const std::string& label) {
  auto request = request_for(address, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  if (!request) return request.error();
  if (!address.v6 && !label.empty() && label.size() < IFNAMSIZ) request->add(IFA_LABEL, label);
  // On lo it is for who binds to it; the kernel must not choose it for others ("deprecated").
  const ifa_cacheinfo never_chosen{0, ~0U, 0, 0};
  if (address.v6 && address.device == "lo") request->add(IFA_CACHEINFO, &never_chosen, sizeof never_chosen);
  const int failed = request->send();
  if (failed != 0)
    return problem_from(failed, "add the address", fmt::format("{} on {}", address.text(), address.device));
  return Ok{};
}

Result remove_alias(const BindAddress& address) {
  auto request = request_for(address, RTM_DELADDR, 0);
  if (!request) return request.error().code == ENODEV ? Result(Ok{}) : Result(request.error());
  const int failed = request->send();
  if (failed != 0 && failed != EADDRNOTAVAIL)
    return problem_from(failed, "remove the address",
                        fmt::format("{} on {}", address.text(), address.device));
  return Ok{};
}

}  // namespace vs::isolation
