#include <unistd.h>

#include "core/escape.h"
#include "core/store/store_place.h"
#include "unify/cli/command.h"
#include "unify/cli/each_pool.h"

namespace vs::unify {
namespace {

// False where there is no store, hence nothing that could have been interrupted: none shall be made for it.
bool has_store(const Options& pool) {
  return ::access(default_store_path(pool.pool).c_str(), F_OK) == 0;
}

Exit recover(const Options& options) {
  Command command(options);
  RunSummary summary;
  summary.verb = "recover";
  bool needed = false;
  for (const auto& one : each_pool(options)) {
    if (options.each_pool && !has_store(one)) continue;
    const Session session(one, options.dry_run ? Access::looking : Access::changing,
                          command.context());  // recovers
    if (options.dry_run)
      needed = needed || needs_recovery(session.store.get(), one.state);
    else if (session.store == nullptr && needs_recovery(nullptr, one.state))
      throw Error(one.state + "/journal tells of an interrupted run, but there is no store " +
                  escaped(session.store_path) + "; name it with --store");
    needed = needed || session.recovered.needed;
    if (session.recovered.needed) summary.run = session.recovered.run;
    summary.guests += session.guests.size();
    summary.masters += session.masters.size();
  }
  if (needed && options.dry_run) command.print("an interrupted run has to be recovered");
  if (!needed) command.print("nothing to recover");
  return options.json ? command.finish(summary) : command.exit_code();
}

}  // namespace

void add_recover(CommandLine& line) {
  static Options options;
  Verb verb = line.verb("recover", "finish or roll back what an interrupted run left");
  add_shared_options(verb, options);
  verb.flag("-n,--dry-run", options.dry_run, "change nothing, say whether there is something to recover");
  verb.flag("--each-pool", options.each_pool,
            "where vservers are on several filesystems: one after the other");
  verb.footer(exit_codes("0 whole, 1 failed, 2 usage, 3 something was kept in the store's lost/, 11 locked",
                         "vunify recover"));
  verb.action([] { return recover(options); });
}

}  // namespace vs::unify
