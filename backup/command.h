// What every verb of vbackup does around its work: log, progress, signals, threads; and how it ends.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "backup/options.h"
#include "core/run_context.h"
#include "core/size_text.h"

namespace vs::backup {

class Command {
 public:
  explicit Command(const Options& options);
  ~Command();
  RunContext& context() { return *context_; }
  // A line of text; nothing with --json.
  void print(const std::string& text) const;
  // A line of JSON; nothing without --json.
  void line(const nlohmann::ordered_json& json) const;
  // The last line: `summary` gets type, verb, seconds, peak_rss_bytes; or `text`. Returns the code that log and cancellation ask for.
  Exit finish(const std::string& verb, nlohmann::ordered_json summary, const std::string& text);

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

void add_create(CommandLine& line);
void add_list(CommandLine& line);
void add_show(CommandLine& line);
void add_restore(CommandLine& line);
void add_check(CommandLine& line);
void add_diff(CommandLine& line);
void add_forget(CommandLine& line);
void add_prune(CommandLine& line);

}  // namespace vs::backup
