#include <unistd.h>

#include "unify/command.h"
#include "unify/each_pool.h"

namespace vs::unify {
namespace {

// False where there is no store, hence nothing that could have been interrupted: none shall be made for it.
bool has_store(const Options& pool) { return ::access(store_path_in(pool.pool).c_str(), F_OK) == 0; }

Exit recover(const Options& options) {
  Command command(options);
  RunSummary summary;
  summary.verb = "recover";
  bool needed = false;
  for (const auto& one : each_pool(options)) {
    if (options.each_pool && !has_store(one)) continue;
    const Session session(one, Access::writing, command.context());  // recovers
    needed = needed || session.recovered.needed;
    if (session.recovered.needed) summary.run = session.recovered.run;
    summary.guests += session.guests.size();
    summary.masters += session.masters.size();
  }
  if (!needed) command.print("nothing to recover");
  return options.json ? command.finish(summary) : command.exit_code();
}

}  // namespace

void add_recover(CommandLine& line) {
  static Options options;
  Verb verb = line.verb("recover", "finish or roll back what an interrupted run left");
  add_shared_options(verb, options);
  verb.flag("--each-pool", options.each_pool, "where vservers are on several filesystems: one after the other");
  verb.footer(exit_codes("0 whole, 1 failed, 2 usage, 3 something was kept in the store's lost/, 11 locked", "vunify recover"));
  verb.action([] { return recover(options); });
}

}  // namespace vs::unify
