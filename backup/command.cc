#include "backup/command.h"

#include <fmt/format.h>
#include <tbb/global_control.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/peak_memory.h"

namespace vs::backup {
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
  log_ = std::make_unique<Log>(verbosity(options), "vbackup");
  progress_ = std::make_unique<Progress>(*log_, progress_mode(options));
  install_signal_handlers(cancel_);
  const unsigned jobs = options.jobs != 0 ? static_cast<unsigned>(std::min<uint64_t>(options.jobs, 256)) : std::max(1u, std::thread::hardware_concurrency());
  threads_ = std::make_unique<Threads>(jobs);
  context_.reset(new RunContext{*log_, *progress_, timer_, cancel_, jobs});
}

Command::~Command() = default;

void Command::print(const std::string& text) const {
  if (!options_.json) fmt::print("{}\n", text);
}

void Command::line(const nlohmann::ordered_json& json) const {
  if (options_.json) fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

Exit Command::finish(const std::string& verb, nlohmann::ordered_json summary, const std::string& text) {
  log_->finish();
  if (options_.json) {
    nlohmann::ordered_json json = {{"type", "summary"}, {"verb", verb}};
    json.update(summary);
    auto& seconds = json["seconds"] = nlohmann::ordered_json::object();
    for (const auto& [pass, s] : timer_.passes()) seconds[pass] = s;
    seconds["total"] = timer_.total();
    json["peak_rss_bytes"] = peak_rss_bytes();
    line(json);
  } else if (!options_.quiet && !text.empty()) {
    fmt::print("{}\n{:.2f} s\n", text, timer_.total());
  }
  if (options_.timings)
    for (const auto& [pass, seconds] : timer_.passes()) fmt::print(stderr, "{:<12}{:8.3f} s\n", pass, seconds);
  if (options_.stats) fmt::print(stderr, "peak memory {} bytes\n", peak_rss_bytes());
  if (cancel_.interrupted()) return Exit::interrupted;
  return log_->failed_objects() != 0 ? Exit::skipped : Exit::done;
}

}  // namespace vs::backup
