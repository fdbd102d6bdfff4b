#include <fmt/format.h>

#include "core/durable/durable_file.h"
#include "core/size_text.h"
#include "unify/cli/command.h"

namespace vs::unify {
namespace {

struct PlanOptions : Options {
  std::string output;
};

Exit plan(const PlanOptions& options) {
  Command command(options);
  const OpenedPool pool = look_at_pool(take_inventory(options, command.context()), command.context());
  const PlannedRun planned = plan_run(pool, {}, command.context());
  const LinkPlan& made = planned.plan;
  const std::string text = plan_text(header_for(pool), made, planned.files.table);
  if (options.output.empty()) {
    fmt::print("{}", text);
    return command.exit_code();
  }
  ok_or_throw(write_durably(options.output, text));
  command.print(fmt::format("{}: {} files in {} groups, {} to save", options.output, made.file_count(),
                            made.groups.size(), size_text(made.bytes_to_save(pool.pool().block_size))));
  return command.finish(summarize(pool, "plan", planned.files));
}

}  // namespace

void add_plan(CommandLine& line) {
  static PlanOptions options;
  Verb verb = line.verb("plan", "write down what run would do; changes nothing");
  add_shared_options(verb, options);
  verb.option("-o,--output", "FILE", options.output, "write the plan there [stdout]");
  verb.arguments("GUEST", options.guests, "only these vservers", false);
  verb.footer(exit_codes("0 done, 1 failed, 2 usage, 3 some objects could not be read",
                         "vunify plan -o tonight.plan && vunify apply tonight.plan"));
  verb.action([] { return plan(options); });
}

}  // namespace vs::unify
