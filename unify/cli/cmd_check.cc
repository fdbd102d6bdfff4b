#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "unify/cli/command.h"
#include "unify/tamper_check.h"

namespace vs::unify {
namespace {

struct CheckOptions : Options {
  std::string against;
};

CheckResult find(const CheckOptions& options, const std::vector<std::string>& suspects,
                 const OpenedPool& pool, RunContext& context) {
  if (options.against.empty()) {
    for (const auto& name : suspects) guest_number(pool.guests(), name);
    return check_masters(pool, options.trees.empty() || suspects.empty(), context);
  }
  if (suspects.size() != 1)
    throw Error("check --against REF takes exactly one vserver to compare with it", Exit::usage);
  return check_against(pool, guest_number(pool.guests(), options.against),
                       guest_number(pool.guests(), suspects[0]), context);
}

void print_findings(const std::vector<Finding>& findings, bool json, Command& command) {
  for (const auto& finding : findings) {
    if (json)
      command.line({{"type", "finding"},
                    {"kind", finding.kind},
                    {"object", finding.object},
                    {"detail", finding.detail}});
    else
      fmt::print("{:<16} {}  {}\n", finding.kind, finding.object, finding.detail);
  }
}

// What was looked at, and how that went, in one sentence.
std::string conclusion(const CheckOptions& options, const std::vector<std::string>& suspects,
                       const OpenedPool& pool, const CheckResult& result) {
  const std::string findings = fmt::format("{} findings", result.findings.size());
  if (!options.against.empty())
    return fmt::format("{} package files of {} compared with {}: {}", result.files_compared, suspects[0],
                       options.against, result.findings.empty() ? "no difference" : findings);
  if (!pool.guard().shares_inodes())
    return "guard reflink: vservers share extents only, a write by one copies; nothing shared can be "
           "tampered with";
  return fmt::format("{} masters read and compared with their digests, {} names in {} vservers: {}",
                     result.masters, result.names, pool.guests().size(),
                     result.findings.empty() ? "all sealed, all as they were made" : findings);
}

RunSummary summary_of(const CheckResult& result, size_t guests) {
  RunSummary summary;
  summary.verb = "check";
  summary.guests = guests;
  summary.masters = result.masters;
  summary.files_considered = result.files_compared;
  summary.files_unified_before = result.names;
  return summary;
}

Exit check(CheckOptions& options) {
  Command command(options);
  const std::vector<std::string> suspects = options.guests;
  options.guests.clear();  // link counts need all of them
  const OpenedPool pool = look_at_pool(take_inventory(options, command.context()), command.context());
  const CheckResult result = find(options, suspects, pool, command.context());
  print_findings(result.findings, options.json, command);
  command.print(conclusion(options, suspects, pool, result));
  const Exit code =
      options.json ? command.finish(summary_of(result, pool.guests().size())) : command.exit_code();
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
