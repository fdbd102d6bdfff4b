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

struct Recovered {
  bool needed = false;
  std::optional<std::string> run;  // the interrupted one
  uint64_t guests = 0, masters = 0;
};

// For a dry run, and if there is no store: then there is nothing to recover, unless the journal says
// otherwise.
Recovered look_at_one_pool(PoolInventory found, bool dry_run, RunContext& context) {
  const OpenedPool pool = look_at_pool(std::move(found), context);
  const bool needed = needs_recovery(pool.store(), pool.options().state);
  if (needed && !dry_run)
    throw Error(pool.options().state + "/journal tells of an interrupted run, but there is no store " +
                escaped(pool.store_path()) + "; name it with --store");
  return {needed, std::nullopt, pool.guests().size(), pool.masters().size()};
}

Recovered recover_one_pool(const Options& options, RunContext& context) {
  if (!options.dry_run) require_root();
  PoolInventory found = take_inventory(options, context);
  if (options.dry_run || !found.has_store())
    return look_at_one_pool(std::move(found), options.dry_run, context);
  LockedPool pool = lock_pool(std::move(found), context);
  const RecoveryResult result = make_whole(pool, context);
  return {result.needed, result.run, pool.guests().size(), pool.masters().size()};
}

Exit recover(const Options& options) {
  Command command(options);
  RunSummary summary;
  summary.verb = "recover";
  bool needed = false;
  for (const auto& one : each_pool(options)) {
    if (options.each_pool && !has_store(one)) continue;
    const Recovered recovered = recover_one_pool(one, command.context());
    needed = needed || recovered.needed;
    if (recovered.run) summary.run = recovered.run;
    summary.guests += recovered.guests;
    summary.masters += recovered.masters;
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
