#include <fmt/format.h>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "unify/cli/command.h"
#include "unify/run_record.h"

namespace vs::unify {
namespace {

struct ApplyOptions : Options {
  std::string plan;
};

[[noreturn]] void stale(const std::string& file, const std::string& what) {
  throw Error(fmt::format("{}: {}; nothing was changed, make a new plan", escaped(file), what),
              Exit::stale_plan);
}

// A plan is for the very trees, store and host it was made on.
void compare_headers(const std::string& file, const PlanHeader& plan, const PlanHeader& here) {
  if (plan.host != here.host)
    stale(file,
          fmt::format("the plan was made on another host ({}; this is {})", escaped(plan.host), here.host));
  if (plan.dev != here.dev || plan.pool != here.pool)
    stale(file,
          fmt::format("the plan is for the pool {}, this is {}", escaped(plan.pool), escaped(here.pool)));
  if (plan.store_id && plan.store_id != here.store_id) stale(file, "the plan is for another store");
  if (plan.guard != here.guard)
    stale(file, fmt::format("the plan is for guard {}, in force is {}", escaped(plan.guard), here.guard));
  // Steps refer to trees by their position in the header.
  if (plan.trees.size() != here.trees.size())
    stale(file, fmt::format("the plan is for {} trees, {} are given", plan.trees.size(), here.trees.size()));
  for (size_t i = 0; i < plan.trees.size(); ++i) {
    if (plan.trees[i].name != here.trees[i].name)
      stale(file,
            fmt::format("the plan's trees are not those given, by name and in order of names: {} is not {}",
                        escaped(plan.trees[i].name), here.trees[i].name));
    const auto& wanted = plan.trees[i];
    const auto& found = here.trees[i];
    if (wanted.dev != found.dev || wanted.ino != found.ino)
      stale(file, fmt::format("{} is another tree than the one the plan was made for ({})", wanted.name,
                              escaped(found.path)));
  }
}

void compare_masters(const std::string& file, const LinkPlan& plan, const MasterTable& masters) {
  for (const auto& group : plan.groups)
    if (group.master && !masters.find_name(*group.master))
      stale(file, "master " + escaped(*group.master) + " is not in the store");
}

// Trees, guard and scope are those that the plan was made for, unless the command line names others.
ParsedPlan read_plan(ApplyOptions& options) {
  const auto text = value_or_throw(read_whole(options.plan, size_t{4} << 30), Exit::usage);
  ParsedPlan parsed = parse_plan(text, options.plan);
  if (options.trees.empty())
    for (const auto& tree : parsed.header.trees) options.trees.push_back(tree.name + "=" + tree.path);
  options.scope = parsed.header.scope;
  if (options.guard == "auto") options.guard = parsed.header.guard;
  return parsed;
}

// A tree, store or guard that is not usable any more makes the plan stale.
template <class Open>
auto or_stale(const std::string& file, Open open) {
  try {
    return open();
  } catch (const Error& error) {
    if (error.code() == Exit::usage) stale(file, error.what());
    throw;
  }
}

void apply_to(LockedPool& pool, const ParsedPlan& parsed, RunSummary& summary, RunContext& context) {
  const JournalRun run = pool.journal_run("apply", new_run_id());
  summary.run = run.run;
  PlannedLinks links{parsed.plan, parsed.table, {}, parsed.header.ignore_mtime};
  links.devices = devices_of(pool.guests());
  add_applied(summary, apply_links(pool, links, run, context), pool);
  record_run(pool, summary, context);
  prune_old_runs(pool, context);
}

RunSummary summary_of(const OpenedPool& pool, const ParsedPlan& parsed) {
  RunSummary summary;
  summary.verb = "apply";
  summary.guests = pool.guests().size();
  summary.files_considered = parsed.plan.file_count();
  return summary;
}

Exit apply(ApplyOptions& options) {
  Command command(options);
  RunContext& context = command.context();
  const ParsedPlan parsed = read_plan(options);
  // Compared before a store is made for it; then once more, with what was opened to be changed.
  or_stale(options.plan, [&] {
    Log quiet(Verbosity::quiet);
    RunContext looking{quiet, context.progress, context.timer, context.cancel, context.jobs};
    compare_headers(options.plan, parsed.header,
                    header_for(look_at_pool(take_inventory(options, looking), looking)));
  });
  if (options.dry_run) {
    const OpenedPool pool =
        or_stale(options.plan, [&] { return look_at_pool(take_inventory(options, context), context); });
    compare_headers(options.plan, parsed.header, header_for(pool));
    compare_masters(options.plan, parsed.plan, pool.masters());
    return command.finish(summary_of(pool, parsed));
  }
  LockedPool pool = or_stale(options.plan, [&] { return open_whole_pool(options, context); });
  compare_headers(options.plan, parsed.header, header_for(pool));
  compare_masters(options.plan, parsed.plan, pool.masters());
  RunSummary summary = summary_of(pool, parsed);
  apply_to(pool, parsed, summary, context);
  return command.finish(summary);
}

}  // namespace

void add_apply(CommandLine& line) {
  static ApplyOptions options;
  Verb verb = line.verb("apply", "do what a plan says, as far as it still holds");
  add_shared_options(verb, options);
  verb.flag("-n,--dry-run", options.dry_run, "check the plan only");
  verb.flag("--no-freeze", options.no_freeze,
            "stop no guest for a moment; leave alone what its programs use");
  verb.option("--max-runtime", "SECONDS", options.max_runtime, "stop at a safe place after this time");
  verb.option("--keep-runs", "N", options.keep_runs, "records of so many runs are kept, for undo [400]");
  verb.argument("PLAN", options.plan, "file made by vunify plan -o", true);
  verb.footer(
      exit_codes("0 done, 1 failed, 2 usage, 3 some files were not linked, 4 plan stale (nothing changed), "
                 "11 locked, 130 interrupted",
                 "vunify apply tonight.plan"));
  verb.action([] { return apply(options); });
}

}  // namespace vs::unify
