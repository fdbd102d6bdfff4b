#include <fmt/format.h>

#include "unify/command.h"

namespace vs::unify {
namespace {

Exit recover(const Options& options) {
  Command command(options);
  const Session session(options, Access::writing, command.context());  // recovers
  const RecoveryResult& result = session.recovered;
  if (!result.needed) command.print("nothing to recover");
  RunSummary summary;
  summary.verb = "recover";
  summary.run = result.run;
  summary.guests = session.guests.size();
  summary.masters = session.masters.size();
  return options.json ? command.finish(summary) : command.exit_code();
}

}  // namespace

void add_recover(CommandLine& line) {
  static Options options;
  Verb verb = line.verb("recover", "finish or roll back what an interrupted run left");
  add_shared_options(verb, options);
  verb.footer(exit_codes("0 whole, 1 failed, 2 usage, 3 something was kept in the store's lost/, 11 locked", "vunify recover"));
  verb.action([] { return recover(options); });
}

}  // namespace vs::unify
