// What every verb of a program does around its work: log, progress, signals, threads; and how it ends. A
// library of its own (vs::command), since it needs TBB.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/cli.h"
#include "core/run_context.h"

namespace vs {

// The flags that every verb of every program has.
struct FrameOptions {
  uint64_t jobs = 0;  // 0: one a processor
  std::string progress = "auto";
  bool json = false, quiet = false, stats = false, timings = false;
  int verbose = 0;
};
void add_frame_options(Verb& verb, FrameOptions& options);

// One a process: signals reach its Cancel.
class CommandFrame {
 public:
  CommandFrame(const std::string& program, const FrameOptions& options);
  ~CommandFrame();
  RunContext& context() { return *context_; }
  // A line of text; nothing with --json.
  void print(const std::string& text) const;
  // A line of text that --quiet is spared too: what the command does, not what it was asked for.
  void note(const std::string& text) const;
  // A line of JSON; nothing without --json. Bytes that are not UTF-8 are replaced.
  void line(const nlohmann::ordered_json& json) const;
  // What the log and cancellation ask for.
  Exit exit_code() const;

 protected:
  Log& log() { return *log_; }
  Cancel& cancel() { return cancel_; }
  const PhaseTimer& timer() const { return timer_; }
  // To stderr, where --timings asks for it.
  void print_timings() const;

 private:
  const FrameOptions& options_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<Progress> progress_;
  PhaseTimer timer_;
  static Cancel cancel_;  // reached by the signal handler
  std::unique_ptr<RunContext> context_;
  struct Threads;
  std::unique_ptr<Threads> threads_;
};

// {"seconds": {PASS: s, ..., "total": s}, "peak_rss_bytes": n} into `summary`.
void add_costs(nlohmann::ordered_json& summary, const PhaseTimer& timer);

}  // namespace vs
