// What NAME.conf says, understood and checked. The file is the original's, with some keys more; all are
// optional.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "isolation/confine/capabilities.h"
#include "isolation/context/cgroup.h"
#include "isolation/context/mounts.h"
#include "isolation/context/places.h"
#include "isolation/network/bind_address.h"

namespace vs::isolation {

enum class InitStyle { automatic, systemd, sysv, rc, plain };

struct VserverConfig {
  std::string name;
  std::string root;                    // the tree
  bool has_own_addresses = true;       // false: IPROOT empty, 0.0.0.0 or ALL: all addresses of the host
  std::vector<BindAddress> addresses;  // IPROOT, with device and prefix where known
  std::string device;  // IPROOTDEV: where addresses without an interface are added; "": they exist already
  bool onboot = false;
  long priority = 100;
  std::string profile = "prod";
  std::vector<std::string> capability_changes;  // S_CAPS
  unsigned context = 0;                         // S_CONTEXT; 0: a dynamic one
  std::string hostname, domainname;             // "" leaves the host's
  long nice = 0;
  std::vector<std::string> flags;                 // S_FLAGS
  std::vector<std::pair<int, uint64_t>> rlimits;  // ULIMIT: RLIMIT_* and both values
  bool private_network = false;                   // NETWORK=private
  std::vector<BindAddress> gateways;              // GATEWAY: of a private network on an interface of the host
  bool user_namespace = false;                    // USERNS
  uint32_t first_id = 0;  // USERNS=FIRST: of the host's ids that it has; 0: its context's own
  InitStyle init = InitStyle::automatic;
  Limits limits;                    // MEMORY, CPU, PIDS
  uint64_t disk = 0;                // DISK, bytes; 0: no limit
  std::vector<BindMount> binds;     // BIND
  std::vector<std::string> waived;  // GUARD="!NAME": guards that this host need not have
  MountPlan mount_plan() const { return {root, binds}; }
  CapabilitySet keep() const { return apply_changes(guest_capabilities(), capability_changes); }
  bool has_flag(const std::string& flag) const;
};

// Names of vservers go into paths, cgroups and shell output: letters, digits, '.', '_', '-', not beginning
// with '.' or '-', up to 64.
void check_vserver_name(const std::string& name);
// Throws Error(Exit::usage) naming file, line, key and what was expected; Error for a vserver that is not
// configured.
VserverConfig read_vserver_config(const Places& places, const std::string& name);
VserverConfig parse_vserver_config(const std::string& name, const std::string& file, const std::string& text);
// Configured names, sorted.
std::vector<std::string> configured(const Places& places);

struct HostSettings {
  bool background = false;  // BACKGROUND: vservers of one priority start side by side
  std::string profile;      // PROFILE: only these are started at boot; "" for all
  long stop_seconds = 10;   // STOP_TIMEOUT: what a guest gets for its own shutdown
};
HostSettings read_host_settings(const Places& places);

}  // namespace vs::isolation
