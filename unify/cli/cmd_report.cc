#include <fmt/format.h>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "unify/cli/command.h"
#include "unify/survey.h"

namespace vs::unify {
namespace {

struct ReportOptions : Options {
  std::string html, prometheus, by = "guest";
  std::vector<std::string> packages;
};

ReportBy report_by(const ReportOptions& options) {
  if (options.by == "guest") return options.packages.empty() ? ReportBy::guest : ReportBy::package;
  if (options.by == "package") return ReportBy::package;
  if (options.by == "source") return ReportBy::source;
  throw Error("--by: expected guest, package or source, found '" + options.by + "'", Exit::usage);
}

Exit report(const ReportOptions& options) {
  Command command(options);
  const ReportBy by = report_by(options);
  const OpenedPool pool = look_at_pool(take_inventory(options, command.context()), command.context());
  Savings savings = survey(pool, command.context());
  savings.nights = runs_on_pool(read_history(options.state + "/history.jsonl"), escaped(pool.pool().top));
  if (!options.html.empty()) ok_or_throw(write_durably(options.html, savings_html(savings), 0644));
  if (!options.prometheus.empty())
    ok_or_throw(write_durably(options.prometheus, savings_prometheus(savings), 0644));
  if (by == ReportBy::source) savings.packages = by_source(savings.packages);
  if (!options.packages.empty()) savings.packages = only(savings.packages, options.packages);
  if (options.json) {
    fmt::print("{}", savings_json(savings));
    RunSummary summary;
    summary.verb = "report";
    summary.guests = savings.guests.size();
    for (const auto& guest : savings.guests) summary.files_seen += guest.files;
    summary.files_unified_before = savings.names_of_masters;
    summary.masters = savings.masters;
    summary.bytes_saved = savings.saved;
    summary.bytes_shared = savings.master_bytes;
    return command.finish(summary);
  }
  if (!options.quiet) fmt::print("{}", savings_text(savings, by));
  return command.exit_code();
}

}  // namespace

void add_report(CommandLine& line) {
  static ReportOptions options;
  Verb verb = line.verb("report", "what sharing saves, by vserver and by package, and by night");
  add_shared_options(verb, options);
  verb.choice("--by", "WHAT", {"guest", "package", "source"}, options.by, "guest, package or source [guest]");
  verb.list("--package", "P", options.packages, "exactly these packages (binary or source names)");
  verb.option("--html", "FILE", options.html, "write one self-contained page there");
  verb.option("--prometheus", "FILE", options.prometheus, "write a textfile for node_exporter there");
  verb.arguments("GUEST", options.guests, "only these vservers", false);
  verb.footer(exit_codes("0 done, 1 failed, 2 usage, 3 some files could not be read",
                         "vunify report --by source --package glibc --package perl"));
  verb.action([] { return report(options); });
}

}  // namespace vs::unify
