#include "core/command_frame.h"

#include <fmt/format.h>
#include <tbb/global_control.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/peak_memory.h"

namespace vs {
namespace {

// More threads than that only wait for one another.
constexpr uint64_t kMostJobs = 256;

ProgressMode progress_mode(const FrameOptions& options) {
  if (options.progress == "always") return ProgressMode::always;
  return options.progress == "never" || options.json || options.quiet ? ProgressMode::never
                                                                      : ProgressMode::automatic;
}

Verbosity verbosity(const FrameOptions& options) {
  if (options.quiet) return Verbosity::quiet;
  return options.verbose > 1    ? Verbosity::debug
         : options.verbose == 1 ? Verbosity::verbose
                                : Verbosity::normal;
}

}  // namespace

void add_frame_options(Verb& verb, FrameOptions& options) {
  verb.option("-j,--jobs", "N", options.jobs, "threads [one a processor]");
  verb.flag("--json", options.json, "JSON lines on stdout, the last one a summary");
  verb.flag("-q,--quiet", options.quiet, "errors only");
  verb.count("-v,--verbose", options.verbose, "more on stderr; twice for debugging");
  verb.choice("--progress", "WHEN", {"auto", "always", "never"}, options.progress,
              "auto, always or never [auto]");
  verb.flag("--stats", options.stats, "counters on stderr at the end");
  verb.flag("--timings", options.timings, "seconds of each pass on stderr at the end");
}

Cancel CommandFrame::cancel_;

struct CommandFrame::Threads {
  explicit Threads(unsigned jobs) : limit(tbb::global_control::max_allowed_parallelism, jobs) {}
  tbb::global_control limit;
};

CommandFrame::CommandFrame(const std::string& program, const FrameOptions& options) : options_(options) {
  log_ = std::make_unique<Log>(verbosity(options), program);
  progress_ = std::make_unique<Progress>(*log_, progress_mode(options));
  install_signal_handlers(cancel_);
  const unsigned jobs = options.jobs != 0 ? static_cast<unsigned>(std::min(options.jobs, kMostJobs))
                                          : std::max(1u, std::thread::hardware_concurrency());
  threads_ = std::make_unique<Threads>(jobs);
  context_.reset(new RunContext{*log_, *progress_, timer_, cancel_, jobs});
}

CommandFrame::~CommandFrame() = default;

void CommandFrame::print(const std::string& text) const {
  if (!options_.json) fmt::print("{}\n", text);
}

void CommandFrame::note(const std::string& text) const {
  if (!options_.quiet) print(text);
}

void CommandFrame::line(const nlohmann::ordered_json& json) const {
  if (options_.json) fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

Exit CommandFrame::exit_code() const {
  if (cancel_.interrupted()) return Exit::interrupted;
  return log_->failed_objects() != 0 ? Exit::skipped : Exit::done;
}

void CommandFrame::print_timings() const {
  if (!options_.timings) return;
  for (const auto& [pass, seconds] : timer_.passes()) fmt::print(stderr, "{:<12}{:8.3f} s\n", pass, seconds);
}

void add_costs(nlohmann::ordered_json& summary, const PhaseTimer& timer) {
  auto& seconds = summary["seconds"] = nlohmann::ordered_json::object();
  for (const auto& [pass, s] : timer.passes()) seconds[pass] = s;
  seconds["total"] = timer.total();
  summary["peak_rss_bytes"] = peak_rss_bytes();
}

}  // namespace vs
