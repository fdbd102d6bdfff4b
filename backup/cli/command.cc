#include "backup/cli/command.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/escape.h"
#include "core/peak_memory.h"

namespace vs::backup {

Command::Command(const Options& options) : CommandFrame("vbackup", options), options_(options) {}

void Command::say_state(const std::string& guest, const std::string& stamp) const {
  note(escaped(guest) + " as of " + stamp);
  line({{"type", "state"}, {"guest", guest}, {"stamp", stamp}});
}

Exit Command::finish(const std::string& verb, const nlohmann::ordered_json& summary,
                     const std::string& text) {
  log().finish();
  if (options_.json) {
    nlohmann::ordered_json json = {{"type", "summary"}, {"verb", verb}};
    json.update(summary);
    add_costs(json, timer());
    line(json);
  } else if (!options_.quiet && !text.empty()) {
    fmt::print("{}\n{:.2f} s\n", text, timer().total());
  }
  print_timings();
  if (options_.stats) fmt::print(stderr, "peak memory {} bytes\n", peak_rss_bytes());
  return exit_code();
}

}  // namespace vs::backup
