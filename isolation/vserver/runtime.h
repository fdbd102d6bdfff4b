// What every command on vservers works with: the places of this host, its contexts and cgroups, and the log.
#pragma once

#include <memory>

#include "core/log.h"
#include "isolation/context/cgroup.h"
#include "isolation/context/context.h"
#include "isolation/context/places.h"

namespace vs::isolation {

struct Runtime {
  Places places;
  std::unique_ptr<Contexts> contexts;
  Cgroups cgroups;
  Log& log;
  bool add_addresses = true;  // --nodev
};
Runtime make_runtime(Log& log);

}  // namespace vs::isolation
