#include "unify/command.h"

#include <fmt/format.h>
#include <tbb/global_control.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/peak_memory.h"

namespace vs::unify {
namespace {

ProgressMode progress_mode(const Options& options) {
  if (options.progress == "always") return ProgressMode::always;
  if (options.progress == "never" || options.json || options.quiet) return ProgressMode::never;
  if (options.progress != "auto") throw Error("--progress: expected auto, always or never, found '" + options.progress + "'", Exit::usage);
  return ProgressMode::automatic;
}

Verbosity verbosity(const Options& options) {
  if (options.quiet) return Verbosity::quiet;
  return options.verbose > 1 ? Verbosity::debug : options.verbose == 1 ? Verbosity::verbose : Verbosity::normal;
}

}  // namespace

Cancel Command::cancel_;

struct Command::Threads {
  explicit Threads(unsigned jobs) : limit(tbb::global_control::max_allowed_parallelism, jobs) {}
  tbb::global_control limit;
};

Command::Command(const Options& options) : options_(options) {
  log_ = std::make_unique<Log>(verbosity(options));
  progress_ = std::make_unique<Progress>(*log_, progress_mode(options));
  install_signal_handlers(cancel_);
  if (options.max_runtime != 0) cancel_.limit_runtime(std::chrono::seconds(options.max_runtime));
  const unsigned jobs = options.jobs != 0 ? static_cast<unsigned>(std::min<uint64_t>(options.jobs, 256)) : std::max(1u, std::thread::hardware_concurrency());
  threads_ = std::make_unique<Threads>(jobs);
  context_.reset(new RunContext{*log_, *progress_, timer_, cancel_, jobs});
}

Command::~Command() = default;

void Command::print(const std::string& text) const {
  if (!options_.json) fmt::print("{}\n", text);
}

Exit Command::exit_code() const {
  if (cancel_.interrupted()) return Exit::interrupted;
  return log_->failed_objects() != 0 ? Exit::skipped : Exit::done;
}

Exit Command::finish(const RunSummary& summary) {
  log_->finish();
  uint64_t troubles = 0;
  for (size_t i = 0; i < kReasons; ++i) {
    const auto reason = static_cast<Reason>(i);
    if (!is_trouble(reason) || summary.skipped[i] == 0) continue;
    troubles += summary.skipped[i];
    log_->tell_number(reason_name(reason), summary.skipped[i], reason_explanation(reason));
  }
  if (options_.json) fmt::print("{}\n", summary_json(summary, timer_));
  else if (!options_.quiet) fmt::print("{}", summary_text(summary, timer_));
  if (options_.timings)
    for (const auto& [pass, seconds] : timer_.passes()) fmt::print(stderr, "{:<12}{:8.3f} s\n", pass, seconds);
  if (options_.stats)
    fmt::print(stderr, "rows {}, table {} bytes ({} a file), peak memory {} bytes\nput back {}, classes restored {}, leases on masters broken {}\n", summary.rows,
               summary.table_bytes, summary.rows == 0 ? 0 : summary.table_bytes / summary.rows, peak_rss_bytes(), summary.put_back,
               summary.classes_restored, summary.leases_broken);
  const Exit code = exit_code();
  return code == Exit::done && troubles != 0 ? Exit::skipped : code;
}

std::string summary_json(const RunSummary& summary, const PhaseTimer& timer) {
  nlohmann::ordered_json json = {{"type", "summary"}, {"verb", summary.verb}, {"guests", summary.guests}, {"files_seen", summary.files_seen},
                                 {"files_considered", summary.files_considered}, {"files_unified_before", summary.files_unified_before},
                                 {"files_linked", summary.files_linked}, {"masters", summary.masters}, {"bytes_saved", summary.bytes_saved},
                                 {"bytes_shared", summary.bytes_shared}};
  nlohmann::ordered_json skipped = nlohmann::ordered_json::object(), seconds = nlohmann::ordered_json::object();
  for (size_t i = 0; i < kReasons; ++i)
    if (summary.skipped[i] != 0) skipped[std::string(reason_name(static_cast<Reason>(i)))] = summary.skipped[i];
  for (const auto& [pass, s] : timer.passes()) seconds[pass] = s;
  seconds["total"] = timer.total();
  json["skipped"] = skipped;
  json["seconds"] = seconds;
  json["peak_rss_bytes"] = peak_rss_bytes();
  json["run"] = summary.run;
  return json.dump();
}

std::string summary_text(const RunSummary& summary, const PhaseTimer& timer) {
  std::string text;
  if (summary.verb != "release" && summary.verb != "undo")
    text = fmt::format("{} vservers, {} files seen, {} considered, {} unified before\n", summary.guests, summary.files_seen,
                                 summary.files_considered, summary.files_unified_before);
  // A dry run has no number, and has linked nothing.
  if (summary.run.empty() && (summary.verb == "run" || summary.verb == "apply")) {
    if (summary.masters != 0) text += fmt::format("{} masters hold {} for all\n", summary.masters, size_text(summary.bytes_shared));
  } else if (summary.verb == "run" || summary.verb == "apply") {
    text += fmt::format("{} files linked now, {} saved by this run, {} masters hold {} for all\n", summary.files_linked, size_text(summary.bytes_saved),
                        summary.masters, size_text(summary.bytes_shared));
  }
  std::string rules, troubles;
  for (size_t i = 0; i < kReasons; ++i) {
    const auto reason = static_cast<Reason>(i);
    if (summary.skipped[i] == 0) continue;
    auto& list = is_trouble(reason) ? troubles : rules;
    list += fmt::format("{}{} {}", list.empty() ? "" : ", ", reason_name(reason), summary.skipped[i]);
  }
  if (!rules.empty()) text += "left alone by rule: " + rules + "\n";
  const bool giving_back = summary.verb == "release" || summary.verb == "undo";
  if (!troubles.empty()) text += (giving_back ? "not given back this time: " : "not shared this time: ") + troubles + "\n";
  return text + fmt::format("{:.2f} s{}\n", timer.total(), summary.run.empty() ? "" : ", run " + summary.run);
}

}  // namespace vs::unify
