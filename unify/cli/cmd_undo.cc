#include <fmt/format.h>

#include <set>

#include "core/escape.h"
#include "unify/change/release.h"
#include "unify/cli/command.h"

namespace vs::unify {
namespace {

struct UndoOptions : Options {
  std::string run;
};

std::string resolve_run(const OpenedPool& pool, const std::string& name) {
  if (name != "last") return name;
  const std::string& state = pool.options().state;
  const auto runs = list_runs(state);
  for (auto it = runs.rbegin(); it != runs.rend(); ++it) {
    const auto recorded = find_run(state, *it);
    // Several pools may have one state directory.
    if (recorded && !recorded->steps.empty() && recorded->run.store_id == pool.store()->id()) return *it;
  }
  throw Error("no run that linked anything in this store is recorded in " + state, Exit::usage);
}

struct UndoWork {
  std::string run;                  // the one to undo
  uint64_t linked = 0;              // by it
  std::vector<NameOfMaster> names;  // only those that still have a master, and where they are now
};

// Nothing where sharing is no more than extents.
std::optional<UndoWork> find_work(const OpenedPool& pool, const std::string& name, Command& command) {
  if (pool.store() == nullptr) throw Error("there is no store, so nothing is shared: " + pool.store_path());
  if (!pool.guard().shares_inodes()) {
    command.print("guard reflink: each vserver has its own inodes and may write to them; nothing to undo");
    return std::nullopt;
  }
  const std::string& state = pool.options().state;
  const RecordedRun recorded = read_run(state, resolve_run(pool, name));
  if (recorded.run.store_id != pool.store()->id())
    throw Error("run " + recorded.run.run + " was on the store " + escaped(recorded.run.store) +
                    "; name it with --store",
                Exit::usage);
  std::set<std::pair<std::string, std::string>> linked;
  for (const auto& step : recorded.steps) linked.emplace(step.guest, step.path);
  auto names = find_names_of_masters(pool.guests(), pool.masters(), state, command.context());
  names = select_names(std::move(names), [&](const NameOfMaster& one) {
    return linked.contains({pool.guests()[one.guest].name, one.path});
  });
  return UndoWork{recorded.run.run, linked.size(), std::move(names)};
}

Exit show_undo(const UndoOptions& options, PoolInventory found, Command& command) {
  const OpenedPool pool = look_at_pool(std::move(found), command.context());
  if (const auto work = find_work(pool, options.run, command))
    for (const auto& name : work->names)
      command.print(fmt::format("would release {}:{}", pool.guests()[name.guest].name, escaped(name.path)));
  return command.exit_code();
}

Exit undo(const UndoOptions& options) {
  Command command(options);
  RunContext& context = command.context();
  if (options.run != "last")
    read_run(options.state, options.run);  // one that is unknown is refused before anything is done
  if (!options.dry_run) require_root();
  PoolInventory found = take_inventory(options, context);
  if (options.dry_run || !found.has_store()) return show_undo(options, std::move(found), command);
  LockedPool pool = lock_pool(std::move(found), context);
  make_whole(pool, context);
  const auto work = find_work(pool, options.run, command);
  if (!work) return command.exit_code();
  const JournalRun run = pool.journal_run("undo", new_run_id());
  const auto timed = context.timer.time("release");
  const ReleaseResult result = release_names(pool.release_input(run), work->names, context);
  release_spoiled(pool, context);
  command.print(fmt::format("run {}: {} of {} files have private copies again", work->run, result.released,
                            work->linked));
  RunSummary summary;
  summary.verb = "undo";
  summary.run = run.run;
  summary.guests = pool.guests().size();
  summary.masters = pool.masters().size();
  summary.skipped = result.skipped;
  return command.finish(summary);
}

}  // namespace

void add_undo(CommandLine& line) {
  static UndoOptions options;
  Verb verb = line.verb("undo", "give private copies back for everything that a run linked");
  add_shared_options(verb, options);
  verb.flag("-n,--dry-run", options.dry_run, "change nothing, name the files");
  verb.argument("RUN", options.run, "a run id of vunify status, or last", true);
  verb.footer(
      exit_codes("0 done, 1 failed, 2 usage, 3 some files changed meanwhile, 11 locked, 130 interrupted",
                 "vunify undo last"));
  verb.action([] { return undo(options); });
}

}  // namespace vs::unify
