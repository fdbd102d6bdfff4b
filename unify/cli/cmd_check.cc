#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "unify/cli/command.h"
#include "unify/tamper_check.h"

namespace vs::unify {
namespace {

struct CheckOptions : Options {
  std::string against;
};

Exit check(CheckOptions& options) {
  Command command(options);
  const std::vector<std::string> suspects = options.guests;
  options.guests.clear();  // link counts need all of them
  const OpenedPool pool = look_at_pool(take_inventory(options, command.context()), command.context());
  CheckResult result;
  if (options.against.empty()) {
    for (const auto& name : suspects) guest_number(pool.guests(), name);
    result = check_masters(pool, options.trees.empty() || suspects.empty(), command.context());
  } else {
    if (suspects.size() != 1)
      throw Error("check --against REF takes exactly one vserver to compare with it", Exit::usage);
    result = check_against(pool, guest_number(pool.guests(), options.against),
                           guest_number(pool.guests(), suspects[0]), command.context());
  }
  for (const auto& finding : result.findings) {
    if (options.json)
      command.line({{"type", "finding"},
                    {"kind", finding.kind},
                    {"object", finding.object},
                    {"detail", finding.detail}});
    else
      fmt::print("{:<16} {}  {}\n", finding.kind, finding.object, finding.detail);
  }
  if (options.against.empty() && !pool.guard().shares_inodes())
    command.print(
        "guard reflink: vservers share extents only, a write by one copies; nothing shared can be tampered "
        "with");
  else if (options.against.empty())
    command.print(fmt::format("{} masters read and compared with their digests, {} names in {} vservers: {}",
                              result.masters, result.names, pool.guests().size(),
                              result.findings.empty() ? "all sealed, all as they were made"
                                                      : fmt::format("{} findings", result.findings.size())));
  else
    command.print(fmt::format(
        "{} package files of {} compared with {}: {}", result.files_compared, suspects[0], options.against,
        result.findings.empty() ? "no difference" : fmt::format("{} findings", result.findings.size())));
  Exit code = command.exit_code();
  if (options.json) {
    RunSummary summary;
    summary.verb = "check";
    summary.guests = pool.guests().size();
    summary.masters = result.masters;
    summary.files_considered = result.files_compared;
    summary.files_unified_before = result.names;
    code = command.finish(summary);
  }
  return result.findings.empty() ? code : Exit::failed;
}

}  // namespace

void add_check(CommandLine& line) {
  static CheckOptions options;
  Verb verb = line.verb(
      "check", "prove that nothing shared was tampered with, or compare a vserver with a trusted one");
  add_shared_options(verb, options);
  verb.option("--against", "REF", options.against,
              "compare the package files of GUEST with what REF's package database records");
  verb.arguments("GUEST", options.guests, "the vserver to compare (with --against)", false);
  verb.footer(
      exit_codes("0 nothing found, 1 findings (each is one line), 2 usage, 3 some files could not be read",
                 "vunify check --against golden web1"));
  verb.action([] { return check(options); });
}

}  // namespace vs::unify
