// What every verb of vunify does around its work: log, progress, signals, threads; and how it ends.
#pragma once

#include <memory>

#include "unify/report_text.h"
#include "unify/unify.h"


namespace vs::unify {

class Command {
 public:
  explicit Command(const Options& options);
  ~Command();
  RunContext& context() { return *context_; }
  const Options& options() const { return options_; }
  // Prints a finding or result: a line of text, or with --json nothing (JSON lines are printed by the verb).
  void print(const std::string& text) const;
  // Each kind of trouble with its number and an example, the summary (text of one paragraph, or the JSON line), --stats, --timings; returns the exit code that the log and cancellation ask for.
  Exit finish(const RunSummary& summary);
  // Without a summary line of numbers: verbs that count nothing.
  Exit exit_code() const;

 private:
  const Options& options_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<Progress> progress_;
  PhaseTimer timer_;
  static Cancel cancel_;  // reached by the signal handler
  std::unique_ptr<RunContext> context_;
  struct Threads;
  std::unique_ptr<Threads> threads_;
};

std::string summary_json(const RunSummary& summary, const PhaseTimer& timer);
std::string summary_text(const RunSummary& summary, const PhaseTimer& timer);

// One file a verb; each declares its options and says what to run.
void add_scan(CommandLine& line);
void add_plan(CommandLine& line);
void add_apply(CommandLine& line);
void add_run(CommandLine& line);
void add_status(CommandLine& line);
void add_report(CommandLine& line);
void add_explain(CommandLine& line);
void add_check(CommandLine& line);
void add_release(CommandLine& line);
void add_undo(CommandLine& line);
void add_recover(CommandLine& line);
void add_gc(CommandLine& line);

}  // namespace vs::unify
