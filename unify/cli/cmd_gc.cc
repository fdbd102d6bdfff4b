#include <fmt/format.h>

#include "core/size_text.h"
#include "unify/change/garbage.h"
#include "unify/cli/command.h"

namespace vs::unify {
namespace {

void print_result(Command& command, const char* did, const GcResult& result) {
  command.print(fmt::format("{} {} masters that no vserver uses, {}", did, result.removed,
                            size_text(result.bytes_freed)));
}

RunSummary summary_of(const OpenedPool& pool, const GcResult& result) {
  RunSummary summary;
  summary.verb = "gc";
  summary.guests = pool.guests().size();
  summary.bytes_saved = result.bytes_freed;
  summary.masters = pool.masters().size() - result.removed;
  return summary;
}

RunSummary look_for_garbage(const Options& options, Command& command) {
  RunContext& context = command.context();
  const OpenedPool pool = look_at_pool(take_inventory(options, context), context);
  if (pool.store() == nullptr) return summary_of(pool, GcResult{});
  const GcResult result = find_garbage(*pool.store(), pool.masters(), context);
  print_result(command, "would remove", result);
  return summary_of(pool, result);
}

RunSummary remove_garbage(const Options& options, Command& command) {
  LockedPool pool = open_whole_pool(options, command.context());
  const JournalRun run = pool.journal_run("gc", new_run_id());
  const GcResult result = collect_garbage(
      {pool.store(), pool.guard(), pool.masters(), pool.index(), run, options.state}, command.context());
  print_result(command, "removed", result);
  return summary_of(pool, result);
}

Exit gc(const Options& options) {
  Command command(options);
  const RunSummary summary =
      options.dry_run ? look_for_garbage(options, command) : remove_garbage(options, command);
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
