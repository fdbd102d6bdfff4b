// How every verb of vbackup ends, and what verbs there are.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "backup/cli/options.h"
#include "core/command_frame.h"

namespace vs::backup {

class Command : public CommandFrame {
 public:
  explicit Command(const Options& options);
  // Which state of a vserver is what follows of, or is restored.
  void say_state(const std::string& guest, const std::string& stamp) const;
  // The last line: `summary` gets type, verb, seconds, peak_rss_bytes; or `text`. Returns the exit code.
  Exit finish(const std::string& verb, const nlohmann::ordered_json& summary, const std::string& text);

 private:
  const Options& options_;
};

void add_init(CommandLine& line);
void add_create(CommandLine& line);
void add_list(CommandLine& line);
void add_show(CommandLine& line);
void add_dump(CommandLine& line);
void add_restore(CommandLine& line);
void add_check(CommandLine& line);
void add_diff(CommandLine& line);
void add_protect(CommandLine& line);
void add_forget(CommandLine& line);
void add_prune(CommandLine& line);
void add_mount(CommandLine& line);

}  // namespace vs::backup
