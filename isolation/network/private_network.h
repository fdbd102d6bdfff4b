// NETWORK=private: interfaces of a guest that has a network namespace of its own.
//
// Where IPROOT names an interface (or IPROOTDEV does) the guest gets one with these addresses behind it: a
// port of it where it is a bridge, a macvlan on it otherwise; its gateway is GATEWAY. Addresses without an
// interface are routed: a veth pair, whose host end answers for the guest's gateway, with a route to each of
// the addresses.
//
// A guest has no capability to change any of it, and the packet filter (packet_filter.h) keeps its sockets to
// its addresses also where S_CAPS gives it one; on a routed pair the host's reverse path filter does so even
// for packet sockets.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "isolation/network/bind_address.h"

namespace vs::isolation {

enum class LinkKind { routed, bridged, macvlan };

struct PrivateLink {
  LinkKind kind;
  std::string name;       // in the guest: eth0, eth1, ...
  std::string host_name;  // of the host's end; "" for macvlan
  std::string device;     // of the host, that it is attached to; "" for routed
  std::string alias;      // what "ip link" shows of it on the host: "vserver NAME"
  std::vector<BindAddress> addresses;
};

// One for each interface named, in the order of the addresses. Looks at the host's interfaces, so call it
// there. Problem when one does not exist.
Expected<std::vector<PrivateLink>> plan_private_network(const std::string& vserver,
                                                        const std::vector<BindAddress>& addresses);

// In the first process of a guest, in its new network namespace; `host_network` is an open file of the
// host's. `hold` is told the name of a link of the host before it is made.
Result make_private_network(const std::vector<PrivateLink>& links, const std::vector<BindAddress>& gateways,
                            int host_network, const std::function<void(const std::string&)>& hold);

// Of the host; its peer goes with it. One that is not there is removed already.
Result remove_link(const std::string& name);

}  // namespace vs::isolation
