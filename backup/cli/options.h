// What the flags of vbackup say.
#pragma once

#include <string>
#include <vector>

#include "core/command_frame.h"

namespace vs::backup {

struct Options : FrameOptions {
  std::vector<std::string> trees, guests, to;
  std::string state = "/var/lib/vservers/backup", from;
  bool dry_run = false;
};

void add_source_options(Verb& verb, Options& options);  // --tree, --state, --to
void add_set_option(Verb& verb, Options& options);      // --from
// "archive:DIR" or "DIR"; throws Error(Exit::usage) for others.
std::string set_path(const std::string& target);
std::string only_set(const Options& options);
// Where a verb that only reads finds backups: the set, or the single archive of --from.
std::string source_of(const Options& options);
void add_from_option(Verb& verb, Options& options);

}  // namespace vs::backup
