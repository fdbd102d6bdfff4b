#include "isolation/context/places.h"

#include <cstdlib>

namespace vs::isolation {

Places places_from_environment() {
  Places places;
  const auto take = [](const char* name, std::string& target) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != 0) target = value;
  };
  take("VS_VSERVER_CONF", places.conf);
  take("VS_VSERVER_HOST_CONF", places.host_conf);
  take("VS_VSERVER_TREES", places.trees);
  take("VS_VSERVER_RUN", places.run);
  take("VS_VSERVICES", places.services);
  return places;
}

}  // namespace vs::isolation
