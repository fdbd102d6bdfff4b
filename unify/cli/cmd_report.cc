#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/typed_package.h"
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

// All guests of the pool that the named ones lie on: what one of them shares is known only when all are
// looked at.
Options whole_pool(const ReportOptions& options, RunContext& context) {
  Options whole = options;
  if (options.guests.empty()) return whole;
  Log quiet(Verbosity::quiet);  // the second look tells what is wrong with the trees
  RunContext looking{quiet, context.progress, context.timer, context.cancel, context.jobs};
  whole.pool = take_inventory(options, looking).pool.top;
  whole.guests.clear();
  return whole;
}

// Those of `names` that a guest has, or that a master was made of. The others are named; if there are no
// more, that is a usage error.
std::vector<std::string> known_packages(const std::vector<std::string>& names, const GuestPackages& guests,
                                        const std::vector<PackageSavings>& shared, Log& log) {
  std::vector<std::string> known, missing;
  for (const auto& name : names) {
    const TypedPackage typed(name);
    const bool met = std::any_of(guests.begin(), guests.end(),
                                 [&](const PackageIndex& index) { return has_package(index, typed); }) ||
                     std::any_of(shared.begin(), shared.end(), [&](const PackageSavings& row) {
                       return typed.fits(row.name, row.source, row.arch);
                     });
    (met ? known : missing).push_back(name);
  }
  for (auto& name : missing) name = "no vserver has a package '" + escaped(name) + "'";
  if (known.empty() && !names.empty()) throw Error(fmt::format("{}", fmt::join(missing, "; ")), Exit::usage);
  for (const auto& one : missing) log.object_failed(one);
  return known;
}

RunSummary summary_of(const Savings& savings) {
  RunSummary summary;
  summary.verb = "report";
  summary.guests = savings.guests.size();
  for (const auto& guest : savings.guests) summary.files_seen += guest.files;
  summary.files_unified_before = savings.names_of_masters;
  summary.masters = savings.masters;
  summary.bytes_saved = savings.saved;
  summary.bytes_shared = savings.master_bytes;
  return summary;
}

Exit report(const ReportOptions& options) {
  Command command(options);
  RunContext& context = command.context();
  const ReportBy by = report_by(options);
  const Options whole = whole_pool(options, context);
  const OpenedPool pool = look_at_pool(take_inventory(whole, context), context);
  const GuestPackages databases = load_guest_packages(pool.guests(), std::nullopt, context);
  Savings savings = survey(pool, databases, context);
  const RunSummary summary = summary_of(savings);
  const auto packages = known_packages(options.packages, databases, savings.packages, context.log);
  savings.nights = runs_on_pool(read_history(options.state + "/history.jsonl"), escaped(pool.pool().top));
  show_only(savings, options.guests);
  const auto parts = std::exchange(savings.packages, by_name(savings.packages));
  if (!options.html.empty()) ok_or_throw(write_durably(options.html, savings_html(savings), 0644));
  if (!options.prometheus.empty())
    ok_or_throw(write_durably(options.prometheus, savings_prometheus(savings), 0644));
  if (by == ReportBy::source) savings.packages = by_source(savings.packages);
  if (!packages.empty()) savings.packages = only(parts, packages);
  if (by == ReportBy::source && !packages.empty())
    for (auto& row : savings.packages) row.source = row.name;  // each stays a row of its own
  if (options.json) {
    fmt::print("{}", savings_json(savings));
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
  verb.list("--package", "P", options.packages,
            "exactly these packages (binary or source names, or NAME:ARCH)");
  verb.option("--html", "FILE", options.html, "write one self-contained page there");
  verb.option("--prometheus", "FILE", options.prometheus, "write a textfile for node_exporter there");
  verb.arguments("GUEST", options.guests, "only the rows of these vservers", false);
  verb.footer(exit_codes(
      "0 done, 1 failed, 2 usage, or no vserver has such a package, 3 some of the packages are nowhere, "
      "or some files could not be read",
      "vunify report --by source --package glibc --package perl"));
  verb.action([] { return report(options); });
}

}  // namespace vs::unify
