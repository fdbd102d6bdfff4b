#include <fmt/format.h>

#include <algorithm>

#include "core/escape.h"
#include "core/size_text.h"
#include "unify/cli/command.h"
#include "unify/cli/each_pool.h"
#include "unify/run_record.h"

namespace vs::unify {
namespace {

void add(RunSummary& sum, const RunSummary& one) {
  sum.verb = one.verb;
  sum.run = one.run;
  for (const auto field : {&RunSummary::guests, &RunSummary::files_seen, &RunSummary::files_considered,
                           &RunSummary::files_unified_before, &RunSummary::files_linked, &RunSummary::masters,
                           &RunSummary::bytes_saved, &RunSummary::bytes_held, &RunSummary::bytes_shared,
                           &RunSummary::put_back, &RunSummary::classes_restored, &RunSummary::leases_broken,
                           &RunSummary::rows, &RunSummary::table_bytes})
    sum.*field += one.*field;
  sum.longest_window_us = std::max(sum.longest_window_us, one.longest_window_us);
  for (size_t i = 0; i < kReasons; ++i) sum.skipped[i] += one.skipped[i];
}

RunSummary plan_one_pool(const Options& options, Command& command) {
  RunContext& context = command.context();
  const OpenedPool pool = look_at_pool(take_inventory(options, context), context);
  const PlannedRun planned = plan_run(pool, {}, context);
  command.print(fmt::format("would link {} files in {} groups, saving {}", planned.plan.file_count(),
                            planned.plan.groups.size(), size_text(bytes_to_save(pool, planned, context))));
  return summarize(pool, "run", planned.files);
}

RunSummary run_one_pool(const Options& options, Command& command) {
  if (options.dry_run) return plan_one_pool(options, command);
  RunContext& context = command.context();
  LockedPool pool = open_whole_pool(options, context);
  const RunSummary summary = run_unify(pool, context);
  record_run(pool, summary, context);
  prune_old_runs(pool, context);
  return summary;
}

Exit run(const Options& options) {
  Command command(options);
  if (!options.each_pool) return command.finish(run_one_pool(options, command));
  RunSummary sum;
  sum.verb = "run";
  for (const auto& one : each_pool(options)) {
    command.print("pool " + escaped(one.pool) + ":");
    try {
      add(sum, run_one_pool(one, command));
    } catch (const Error& error) {
      // The night of the other pools goes on; but who holds the state directory's lock holds it for all.
      if (error.code() == Exit::locked) throw;
      command.context().log.object_failed("pool " + escaped(one.pool) + ": " + error.what());
    }
  }
  return command.finish(sum);
}

}  // namespace

void add_run(CommandLine& line) {
  static Options options;
  Verb verb = line.verb("run", "scan, plan and apply: the nightly job");
  add_shared_options(verb, options);
  verb.flag("-n,--dry-run", options.dry_run, "change nothing, say what would be done");
  verb.flag("--no-freeze", options.no_freeze,
            "stop no guest for a moment; leave alone what its programs use");
  verb.option("--max-runtime", "SECONDS", options.max_runtime, "stop at a safe place after this time");
  verb.option("--keep-runs", "N", options.keep_runs, "records of so many runs are kept, for undo [400]");
  verb.flag("--each-pool", options.each_pool,
            "where vservers are on several filesystems: one after the other");
  verb.arguments("GUEST", options.guests, "only these vservers", false);
  verb.footer(
      exit_codes("0 done, 1 failed, 2 usage, 3 done but some files were not linked this time, 11 locked, 130 "
                 "interrupted",
                 "vunify run --dry-run"));
  verb.action([] { return run(options); });
}

}  // namespace vs::unify
