#include "isolation/bind_address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netdb.h>
#include <sys/socket.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "core/escape.h"
#include "core/unique_fd.h"

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
  if (text.empty() || text.size() > 3 || text.find_first_not_of("0123456789") != std::string::npos || std::stoul(text) > most || std::stoul(text) == 0)
    bad(whole, fmt::format("a prefix length from 1 to {} or a netmask after '/'", most));
  return static_cast<unsigned>(std::stoul(text));
}

void take(const sockaddr* from, std::vector<BindAddress>& found) {
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
    if (name == device || name.starts_with(device + ":")) take(one->ifa_addr, found);
  }
  ::freeifaddrs(list);
  return found;
}

// --- rtnetlink ---------------------------------------------------------------------------------------------

struct Request {
  nlmsghdr header{};
  ifaddrmsg message{};
  char attributes[256]{};
};

void append(Request& request, unsigned short type, const void* data, size_t size) {
  auto* attribute = reinterpret_cast<rtattr*>(reinterpret_cast<char*>(&request) + NLMSG_ALIGN(request.header.nlmsg_len));
  attribute->rta_type = type;
  attribute->rta_len = static_cast<unsigned short>(RTA_LENGTH(size));
  std::memcpy(RTA_DATA(attribute), data, size);
  request.header.nlmsg_len = static_cast<uint32_t>(NLMSG_ALIGN(request.header.nlmsg_len) + RTA_ALIGN(attribute->rta_len));
}

// 0 or an errno.
int talk(const Request& request) {
  const UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket || ::send(socket.get(), &request, request.header.nlmsg_len, 0) < 0) return errno;
  alignas(nlmsghdr) char buffer[4096];
  const ssize_t got = ::recv(socket.get(), buffer, sizeof buffer, 0);
  if (got < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr)))) return got < 0 ? errno : EPROTO;
  const auto* answer = reinterpret_cast<const nlmsghdr*>(buffer);
  if (answer->nlmsg_type != NLMSG_ERROR) return EPROTO;
  return -reinterpret_cast<const nlmsgerr*>(NLMSG_DATA(answer))->error;
}

Expected<Request> request_for(const BindAddress& address, uint16_t type, uint16_t flags) {
  Request request;
  request.header.nlmsg_len = NLMSG_LENGTH(sizeof(ifaddrmsg));
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  request.message.ifa_family = address.v6 ? AF_INET6 : AF_INET;
  request.message.ifa_prefixlen = static_cast<uint8_t>(address.prefix != 0 ? address.prefix : address.v6 ? 128 : 32);
  request.message.ifa_index = ::if_nametoindex(address.device.c_str());
  if (request.message.ifa_index == 0) return problem_from(ENODEV, "find the network interface", escaped(address.device));
  const size_t size = address.v6 ? 16 : 4;
  append(request, IFA_LOCAL, address.bytes.data(), size);
  append(request, IFA_ADDRESS, address.bytes.data(), size);
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
  if (const size_t slash = text.find('/'); slash != std::string::npos) address.prefix = parse_prefix(text.substr(slash + 1), address.v6, text);
  return address;
}

std::vector<BindAddress> resolve_address(const std::string& text) {
  try {
    return {parse_address(text)};
  } catch (const Error&) {
    if (text.find('/') != std::string::npos && text.find(':') != std::string::npos) throw;
  }
  std::vector<BindAddress> found = addresses_of(text);
  if (found.empty()) {
    addrinfo* answers = nullptr;
    const int failed = ::getaddrinfo(text.c_str(), nullptr, nullptr, &answers);
    if (failed != 0) throw Error(fmt::format("'{}' is no address, no network interface, and no known name: {}", escaped(text), ::gai_strerror(failed)), Exit::usage);
    for (const addrinfo* one = answers; one != nullptr; one = one->ai_next) take(one->ai_addr, found);
    ::freeaddrinfo(answers);
  }
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
  if (!address.v6 && !label.empty() && label.size() < IFNAMSIZ) append(*request, IFA_LABEL, label.c_str(), label.size() + 1);
  const uint8_t no_dad = IFA_F_NODAD;  // else an IPv6 address cannot be bound for a second
  if (address.v6) request->message.ifa_flags = no_dad;
  const int failed = talk(*request);
  if (failed != 0) return problem_from(failed, "add the address", fmt::format("{} on {}", address.text(), address.device));
  return Ok{};
}

Result remove_alias(const BindAddress& address) {
  auto request = request_for(address, RTM_DELADDR, 0);
  if (!request) return request.error().code == ENODEV ? Result(Ok{}) : Result(request.error());
  const int failed = talk(*request);
  if (failed != 0 && failed != EADDRNOTAVAIL) return problem_from(failed, "remove the address", fmt::format("{} on {}", address.text(), address.device));
  return Ok{};
}

}  // namespace vs::isolation
