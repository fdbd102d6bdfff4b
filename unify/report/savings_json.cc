// The report as JSON lines. Names are escaped() first: no byte a guest puts into a name makes the text
// invalid, and unescape() gives the very bytes back.
#include <nlohmann/json.hpp>

#include "core/escape.h"
#include "unify/report/savings.h"

namespace vs::unify {
namespace {

using Json = nlohmann::ordered_json;  // keeps the order written here: easier to read, the same every time

Json guest_json(const GuestSavings& guest) {
  return {{"type", "guest"},
          {"name", escaped(guest.name)},
          {"packages", escaped(guest.packages)},
          {"files", guest.files},
          {"files_unified", guest.files_unified},
          {"apparent", guest.apparent},
          {"on_disk", guest.on_disk},
          {"exclusive", guest.exclusive},
          {"shared", guest.shared},
          {"fair_share", guest.fair_share}};
}

Json package_json(const PackageSavings& package) {
  return {{"type", "package"},
          {"name", escaped(package.name)},
          {"source", escaped(package.source)},
          {"masters", package.masters},
          {"names", package.names},
          {"guests", package.guests},
          {"bytes_once", package.bytes_once},
          {"bytes_saved", package.bytes_saved}};
}

Json night_json(const HistoryEntry& night) {
  return {{"type", "night"},
          {"run", escaped(night.run)},
          {"pool", night.pool},
          {"time", night.time},
          {"verb", escaped(night.verb)},
          {"guests", night.guests},
          {"files_seen", night.files_seen},
          {"files_linked", night.files_linked},
          {"masters", night.masters},
          {"bytes_saved", night.bytes_saved},
          {"bytes_saved_total", night.bytes_saved_total},
          {"seconds", night.seconds},
          {"problems", night.problems}};
}

Json pool_json(const Savings& savings) {
  return {{"type", "pool"},
          {"pool", escaped(savings.pool)},
          {"host", escaped(savings.host)},
          {"time", savings.time},
          {"guard", escaped(savings.guard)},
          {"scope", escaped(savings.scope)},
          {"guests", guest_count(savings)},
          {"masters", savings.masters},
          {"master_bytes", savings.master_bytes},
          {"names_of_masters", savings.names_of_masters},
          {"disk_used", savings.disk_used},
          {"saved", savings.saved},
          {"unsealed_shared", savings.unsealed_shared},
          {"memory_saved", savings.memory_saved}};
}

}  // namespace

std::string savings_json(const Savings& savings) {
  std::string out;
  const auto line = [&](const Json& json) { out += json.dump() + "\n"; };
  for (const GuestSavings& guest : savings.guests) line(guest_json(guest));
  for (const PackageSavings& package : savings.packages) line(package_json(package));
  for (const HistoryEntry& night : savings.nights) line(night_json(night));
  line(pool_json(savings));
  return out;
}

}  // namespace vs::unify
