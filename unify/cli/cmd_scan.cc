#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/escape.h"
#include "unify/cli/command.h"

namespace vs::unify {
namespace {

Exit scan(const Options& options) {
  Command command(options);
  const OpenedPool pool = look_at_pool(take_inventory(options, command.context()), command.context());
  const GuestFiles files = find_files(pool, {}, command.context());
  command.print(fmt::format("{:<20} {:<16} {:>9} {:>9} {:>10} {:>8}  {}", "VSERVER", "PACKAGES", "FILES",
                            "OWNED", "CONSIDERED", "UNIFIED", "TREE"));
  for (GuestNumber i; i < pool.guests().next_number(); ++i) {
    const Guest& guest = pool.guests()[i];
    const GuestCounts& counts = files.counts[i];
    const std::string source = files.packages[i].empty() ? "none" : files.packages[i].source();
    command.print(fmt::format("{:<20} {:<16} {:>9} {:>9} {:>10} {:>8}  {}", guest.name, source,
                              counts.regular_files, counts.owned, counts.considered, counts.unified,
                              escaped(guest.root.path())));
    if (!options.json) continue;
    nlohmann::ordered_json skipped = nlohmann::ordered_json::object();
    for (size_t r = 0; r < kReasons; ++r)
      if (counts.skipped[r] != 0)
        skipped[std::string(reason_name(static_cast<Reason>(r)))] = counts.skipped[r];
    command.line({{"type", "guest"},
                  {"name", guest.name},
                  {"tree", escaped(guest.root.path())},
                  {"source", guest.source},
                  {"packages", source},
                  {"files", counts.regular_files},
                  {"owned", counts.owned},
                  {"considered", counts.considered},
                  {"unified", counts.unified},
                  {"skipped", skipped}});
  }
  return command.finish(summarize(pool, "scan", files));
}

}  // namespace

void add_scan(CommandLine& line) {
  static Options options;
  Verb verb = line.verb("scan", "show what there is; writes nothing");
  add_shared_options(verb, options);
  verb.arguments("GUEST", options.guests, "only these vservers", false);
  verb.footer(exit_codes("0 done, 2 usage, 3 some objects could not be read", "vunify scan --json"));
  verb.action([] { return scan(options); });
}

}  // namespace vs::unify
