// Where vservers are known by name. The environment moves them: for tests, and for hosts laid out otherwise.
#pragma once

#include <string>

namespace vs::isolation {

struct Places {
  std::string conf = "/etc/vservers";            // VS_VSERVER_CONF: NAME.conf, NAME.sh
  std::string host_conf = "/etc/vservers.conf";  // VS_VSERVER_HOST_CONF
  std::string trees = "/vservers";               // VS_VSERVER_TREES: NAME/
  std::string run = "/run/vservers";             // VS_VSERVER_RUN: ctx/N, NAME.ctx, NAME.held, NAME.lock
  std::string services = "/etc/vservices";       // VS_VSERVICES: SERVICE.conf

  std::string vunify_conf() const { return conf + "/vunify.conf"; }
  // The guest's seccomp program, made at start for commands that enter later.
  std::string filter_file(const std::string& name) const { return run + "/" + name + ".filter"; }
};

Places places_from_environment();

}  // namespace vs::isolation
