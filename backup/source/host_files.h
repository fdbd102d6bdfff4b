// What a vserver is beside its tree: the files of the host that say how it is started, without which a tree
// that came back is no vserver yet.
//
// They are the administrator's, and lie where no guest can write. What is found by the place of a tree, in a
// directory that may be another user's (LXC without root), is a regular file there or is not taken: no
// symbolic link leads from it to a file of the host.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/tree/inventory.h"

namespace vs::backup {

struct HostFile {
  std::string path;  // on the host, without the leading slash
  std::string content;
  uint32_t mode = 0, uid = 0, gid = 0;
  int64_t mtime_ns = 0;
};

// By the vserver's name; each sorted by path. Who has none is not in it.
using HostFiles = std::map<std::string, std::vector<HostFile>>;

// Where they are looked for; tests point it elsewhere.
struct HostPlaces {
  std::string vserver_conf = "/etc/vservers";  // NAME.conf, NAME.sh
  std::string nspawn = "/etc/systemd/nspawn";  // TREE.nspawn, by the last part of the tree's path ...
  std::string proxmox = "/etc/pve/lxc";        // NAME.conf, where the tree is .../NAME/rootfs
};

// All of them: small, and read whole. One that is there and cannot be read, or is larger than settings are (1
// MiB), is told to the log as a failed object. To be called with the trees themselves, not with snapshots.
HostFiles find_host_files(const std::vector<Guest>& guests, const HostPlaces& places, Log& log);

}  // namespace vs::backup
