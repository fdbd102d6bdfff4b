// How every verb of vunify ends, and what verbs there are.
#pragma once

#include "core/command_frame.h"
#include "unify/unify.h"

namespace vs::unify {

class Command : public CommandFrame {
 public:
  explicit Command(const Options& options);
  // Each kind of trouble with its number and an example, the summary (text of one paragraph, or the JSON
  // line), --stats, --timings; returns the exit code.
  Exit finish(const RunSummary& summary);

 private:
  const Options& options_;
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
void add_forget(CommandLine& line);

}  // namespace vs::unify
