#include "isolation/network/private_network.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "core/escape.h"
#include "core/unique_fd.h"
#include "isolation/network/rtnetlink.h"

namespace vs::isolation {
namespace {

// The host's end of every routed pair has these; link-local, so that no network of anybody's is taken.
constexpr const char *kGateway4 = "169.254.1.1/32", *kGateway6 = "fe80::1/64";

bool is_bridge(const std::string& device) {
  ethtool_drvinfo info{};
  info.cmd = ETHTOOL_GDRVINFO;
  ifreq request{};
  std::strncpy(request.ifr_name, device.c_str(), IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&info);
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return socket && ::ioctl(socket.get(), SIOCETHTOOL, &request) == 0 && std::string(info.driver) == "bridge";
}

// Interface names have 15 characters and vservers' 64: a hash, and the whole name as the alias that "ip link"
// shows.
std::string host_name_of(const std::string& vserver, size_t index) {
  uint32_t hash = 0x811c9dc5;  // FNV-1a
  for (const char c : vserver) hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193;
  return fmt::format("vs{:08x}.{}", hash, index);
}

Result done_or(int failed, const char* what, const std::string& object) {
  return failed == 0 ? Result(Ok{}) : Result(problem_from(failed, what, object));
}

ifinfomsg link_named(const std::string& name, bool up) {
  ifinfomsg message{};
  message.ifi_index = static_cast<int>(::if_nametoindex(name.c_str()));
  message.ifi_flags = up ? IFF_UP : 0;
  message.ifi_change = up ? IFF_UP : 0;
  return message;
}

Result set_up(const std::string& name, const std::string& alias = "") {
  RouteRequest request(RTM_NEWLINK, 0, link_named(name, true));
  if (!alias.empty()) request.add(IFLA_IFALIAS, alias.c_str(), alias.size());
  return done_or(request.send(), "set up the interface", name);
}

// In the host's namespace; the guest's end is born in the guest's.
Result make_link(const PrivateLink& link, int guest_network) {
  RouteRequest request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{});
  if (link.kind == LinkKind::macvlan) {
    request.add(IFLA_IFNAME, link.name);
    request.add(IFLA_NET_NS_FD, static_cast<uint32_t>(guest_network));
    request.add(IFLA_LINK, ::if_nametoindex(link.device.c_str()));
    const size_t info = request.begin(IFLA_LINKINFO);
    request.add(IFLA_INFO_KIND, std::string("macvlan"));
    const size_t data = request.begin(IFLA_INFO_DATA);
    request.add(IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE);
    request.end(data);
    request.end(info);
    return done_or(request.send(), "make a macvlan on", link.device);
  }
  request.add(IFLA_IFNAME, link.host_name);
  if (link.kind == LinkKind::bridged) request.add(IFLA_MASTER, ::if_nametoindex(link.device.c_str()));
  const size_t info = request.begin(IFLA_LINKINFO);
  request.add(IFLA_INFO_KIND, std::string("veth"));
  const size_t data = request.begin(IFLA_INFO_DATA);
  const ifinfomsg none{};
  const size_t peer = request.begin(VETH_INFO_PEER, &none, sizeof none);
  request.add(IFLA_IFNAME, link.name);
  request.add(IFLA_NET_NS_FD, static_cast<uint32_t>(guest_network));
  request.end(peer);
  request.end(data);
  request.end(info);
  return done_or(request.send(), "make the interface", link.host_name);
}

// To `to` (nothing: everywhere) by `device`, through `gateway` if there is one.
Result add_route(bool v6, const BindAddress* to, const BindAddress* gateway, const std::string& device) {
  rtmsg message{};
  message.rtm_family = v6 ? AF_INET6 : AF_INET;
  message.rtm_table = RT_TABLE_MAIN;
  message.rtm_protocol = RTPROT_BOOT;
  message.rtm_type = RTN_UNICAST;
  message.rtm_scope = gateway == nullptr && !v6 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  message.rtm_dst_len = to == nullptr ? 0 : static_cast<uint8_t>(to->size() * 8);
  RouteRequest request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, message);
  if (to != nullptr) request.add(RTA_DST, to->bytes.data(), to->size());
  if (gateway != nullptr) request.add(RTA_GATEWAY, gateway->bytes.data(), gateway->size());
  if (!device.empty()) request.add(RTA_OIF, ::if_nametoindex(device.c_str()));
  return done_or(request.send(), "add a route to",
                 fmt::format("{}{}", to == nullptr ? "all through " + gateway->text() : to->text(),
                             device.empty() ? "" : " by " + device));
}

// Of this namespace. One that this kernel does not have (IPv6 switched off) is none to set.
void set_interface_sysctl(const char* family, const std::string& name, const char* key, const char* value) {
  const UniqueFd fd(
      ::open(fmt::format("/proc/sys/net/{}/conf/{}/{}", family, name, key).c_str(), O_WRONLY | O_CLOEXEC));
  if (fd) static_cast<void>(::write(fd.get(), value, 1) == 1);
}

Result on_device(BindAddress address, const std::string& device) {
  address.device = device;
  return add_alias(address, "");
}

bool has_family(const std::vector<BindAddress>& addresses, bool v6) {
  return std::any_of(addresses.begin(), addresses.end(),
                     [v6](const BindAddress& one) { return one.v6 == v6; });
}

// The guest may send what it likes to this end: only what comes from its addresses is taken, and no advice on
// routes.
Result set_up_host_end(const PrivateLink& link) {
  set_interface_sysctl("ipv4", link.host_name, "rp_filter", "1");
  set_interface_sysctl("ipv4", link.host_name, "accept_redirects", "0");
  set_interface_sysctl("ipv6", link.host_name, "accept_redirects", "0");
  set_interface_sysctl("ipv6", link.host_name, "accept_ra", "0");
  if (auto done = set_up(link.host_name, link.alias); !done || link.kind == LinkKind::bridged) return done;
  for (const char* gateway : {kGateway4, kGateway6}) {
    const auto address = parse_address(gateway);
    if (!has_family(link.addresses, address.v6)) continue;
    if (auto done = on_device(address, link.host_name); !done) return done;
  }
  for (const auto& address : link.addresses)
    if (auto done = add_route(address.v6, &address, nullptr, link.host_name); !done) return done;
  return Ok{};
}

Result make_links(const std::vector<PrivateLink>& links, int guest_network,
                  const std::function<void(const std::string&)>& hold) {
  for (const auto& link : links) {
    if (!link.host_name.empty()) hold(link.host_name);
    if (auto done = make_link(link, guest_network); !done) return done;
    if (link.host_name.empty()) continue;
    if (auto done = set_up_host_end(link); !done) return done;
  }
  return Ok{};
}

Result set_up_guest_end(const PrivateLink& link) {
  set_interface_sysctl("ipv4", link.name, "arp_notify",
                       "1");  // neighbours remember the interface of the last start
  for (auto address : link.addresses) {
    if (link.kind == LinkKind::routed) address.prefix = 0;
    if (auto done = on_device(address, link.name); !done) return done;
  }
  if (auto done = set_up(link.name); !done || link.kind != LinkKind::routed) return done;
  for (const char* text : {kGateway4, kGateway6}) {
    const auto gateway = parse_address(text);
    if (!has_family(link.addresses, gateway.v6)) continue;
    if (!gateway.v6)
      if (auto done = add_route(false, &gateway, nullptr, link.name); !done) return done;
    if (auto done = add_route(gateway.v6, nullptr, &gateway, link.name); !done) return done;
  }
  return Ok{};
}

}  // namespace

Expected<std::vector<PrivateLink>> plan_private_network(const std::string& vserver,
                                                        const std::vector<BindAddress>& addresses) {
  std::vector<PrivateLink> links;
  for (const auto& address : addresses) {
    auto found = std::find_if(links.begin(), links.end(),
                              [&](const PrivateLink& one) { return one.device == address.device; });
    if (found == links.end()) {
      if (!address.device.empty() && ::if_nametoindex(address.device.c_str()) == 0)
        return problem_from(ENODEV, "find the network interface", escaped(address.device));
      const LinkKind kind = address.device.empty()      ? LinkKind::routed
                            : is_bridge(address.device) ? LinkKind::bridged
                                                        : LinkKind::macvlan;
      links.push_back({kind,
                       fmt::format("eth{}", links.size()),
                       kind == LinkKind::macvlan ? "" : host_name_of(vserver, links.size()),
                       address.device,
                       "vserver " + vserver,
                       {}});
      found = std::prev(links.end());
    }
    found->addresses.push_back(address);
  }
  return links;
}

Result make_private_network(const std::vector<PrivateLink>& links, const std::vector<BindAddress>& gateways,
                            int host_network, const std::function<void(const std::string&)>& hold) {
  const UniqueFd own(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!own || ::setns(host_network, CLONE_NEWNET) != 0)
    return problem_from_errno("go to", "the host's network namespace");
  auto made = make_links(links, own.get(), hold);
  if (::setns(own.get(), CLONE_NEWNET) != 0)
    return problem_from_errno("go back to", "the guest's network namespace");
  if (!made) return made;
  if (auto done = set_up("lo"); !done) return done;
  for (const auto& link : links)
    if (auto done = set_up_guest_end(link); !done) return done;
  for (const auto& gateway : gateways)
    if (auto done = add_route(gateway.v6, nullptr, &gateway, ""); !done) return done;
  return Ok{};
}

Result remove_link(const std::string& name) {
  const auto message = link_named(name, false);
  if (message.ifi_index == 0) return Ok{};
  const int failed = RouteRequest(RTM_DELLINK, 0, message).send();
  return done_or(failed == ENODEV ? 0 : failed, "remove the interface", name);
}

}  // namespace vs::isolation
