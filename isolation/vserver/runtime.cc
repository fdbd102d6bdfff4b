#include "isolation/vserver/runtime.h"

#include <utility>

namespace vs::isolation {

Runtime make_runtime(Log& log) {
  Places places = places_from_environment();
  auto contexts = make_contexts(places);
  return Runtime{std::move(places), std::move(contexts), Cgroups(), log};
}

}  // namespace vs::isolation
