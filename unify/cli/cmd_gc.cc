#include <fmt/format.h>

#include "unify/change/release.h"
#include "unify/cli/command.h"

namespace vs::unify {
namespace {

Exit gc(const Options& options) {
  Command command(options);
  const Session session(options, options.dry_run ? Access::looking : Access::writing, command.context());
  RunSummary summary;
  summary.verb = "gc";
  summary.guests = session.guests.size();
  if (session.store != nullptr) {
    const JournalRun run = session.journal_run("gc", new_run_id());
    const GcResult result = collect_garbage({*session.store, *session.guard.guard, session.masters,
                                             *session.index, options.dry_run ? nullptr : &run, options.state},
                                            command.context());
    command.print(fmt::format("{} {} masters that no vserver uses, {}",
                              options.dry_run ? "would remove" : "removed", result.removed,
                              size_text(result.bytes_freed)));
    summary.bytes_saved = result.bytes_freed;
    summary.masters = session.masters.size() - result.removed;
  }
  return options.json ? command.finish(summary) : command.exit_code();
}

}  // namespace

void add_gc(CommandLine& line) {
  static Options options;
  Verb verb = line.verb("gc", "drop masters that no vserver uses any more");
  add_shared_options(verb, options);
  verb.flag("-n,--dry-run", options.dry_run, "change nothing, say what would be done");
  verb.footer(
      exit_codes("0 done, 1 failed, 2 usage, 3 some could not be removed, 11 locked", "vunify gc --dry-run"));
  verb.action([] { return gc(options); });
}

}  // namespace vs::unify
