// The steps of a start, in their order. Each writes what it takes to the list of what is held before it takes
// it; a failure at any, or a kill, has all of it given back (lifecycle.h). README.md has the same table.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "isolation/bpf/abstract_sockets.h"
#include "isolation/context/mounts.h"
#include "isolation/network/bind_address.h"
#include "isolation/network/private_network.h"
#include "isolation/vserver/held.h"
#include "isolation/vserver/runtime.h"
#include "isolation/vserver/vserver_config.h"

namespace vs::isolation {

struct Start {
  Runtime& runtime;
  const VserverConfig& config;
  Held held;
  UniqueFd cgroup;  // where the processes go
  ContextInfo context;
  std::string guards;
  std::string filter;                    // of system calls
  std::optional<BindAddress> loopback6;  // where the host has IPv6
  std::vector<PrivateLink> links;        // NETWORK=private
  UniqueFd host_network;
  uint32_t first_id = 0;                   // of the host's ids, with USERNS
  std::optional<GuestMounts> mounts = {};  // with USERNS: made by the host's root
  AbstractSocketGuard abstract_sockets = AbstractSocketGuard::none;
};

struct Step {
  const char* name;
  void (*take)(Start&);  // throws Error
};
std::span<const Step> start_steps();

}  // namespace vs::isolation
