#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/escape.h"
#include "unify/change/release.h"
#include "unify/cli/command.h"

namespace vs::unify {
namespace {

struct UndoOptions : Options {
  std::string run;
};

std::string resolve_run(const Session& session, const std::string& name) {
  if (name != "last") return name;
  const auto runs = list_runs(session.options.state);
  for (auto it = runs.rbegin(); it != runs.rend(); ++it) {
    const auto recorded = find_run(session.options.state, *it);
    // Several pools may have one state directory.
    if (recorded && !recorded->steps.empty() && recorded->run.store_id == session.store->id()) return *it;
  }
  throw Error("no run that linked anything in this store is recorded in " + session.options.state,
              Exit::usage);
}

Exit undo(const UndoOptions& options) {
  Command command(options);
  if (options.run != "last")
    read_run(options.state, options.run);  // one that is unknown is refused before anything is done
  Session session(options, options.dry_run ? Access::looking : Access::changing, command.context());
  if (session.store == nullptr) throw Error("there is no store, so nothing is shared: " + session.store_path);
  if (!session.guard.guard->shares_inodes()) {
    command.print("guard reflink: each vserver has its own inodes and may write to them; nothing to undo");
    return command.exit_code();
  }
  const RecordedRun recorded = read_run(options.state, resolve_run(session, options.run));
  if (recorded.run.store_id != session.store->id())
    throw Error("run " + recorded.run.run + " was on the store " + escaped(recorded.run.store) +
                    "; name it with --store",
                Exit::usage);
  std::set<std::pair<std::string, std::string>> linked;
  for (const auto& step : recorded.steps) linked.emplace(step.guest, step.path);
  // Only names that have a master still, and where they are now.
  std::vector<NameOfMaster> names =
      find_names_of_masters(session.guests, session.masters, options.state, command.context());
  names = select_names(std::move(names), [&](const NameOfMaster& name) {
    return linked.contains({session.guests[name.guest].name, name.path});
  });
  if (options.dry_run) {
    for (const auto& name : names)
      command.print(fmt::format("would release {}:{}", session.guests[name.guest].name, escaped(name.path)));
    return command.exit_code();
  }
  const JournalRun run = session.journal_run("undo", new_run_id());
  const auto timed = command.context().timer.time("release");
  const ReleaseResult result = release_names(session.release_input(run), names, command.context());
  session.release_spoiled();
  command.print(fmt::format("run {}: {} of {} files have private copies again", recorded.run.run,
                            result.released, linked.size()));
  RunSummary summary;
  summary.verb = "undo";
  summary.run = run.run;
  summary.guests = session.guests.size();
  summary.masters = session.masters.size();
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
