#include "backup/cli/options.h"

#include "core/escape.h"

namespace vs::backup {

void add_source_options(Verb& verb, Options& options) {
  verb.list("--tree", "NAME=DIR", options.trees,
            "a vserver and its tree; only these, instead of what the host has");
  verb.option("--state", "DIR", options.state, "what is known of inodes [/var/lib/vservers/backup]");
}

void add_set_option(Verb& verb, Options& options) {
  verb.list("--to", "archive:DIR", options.to, "the archive set");
}

std::string set_path(const std::string& target) {
  std::string path = target.starts_with("archive:") ? target.substr(8) : target;
  if (path.empty() || (path.find(':') != std::string::npos && path.find('/') > path.find(':')))
    throw Error("'" + escaped(target) + "': expected archive:DIR, a directory for an archive set",
                Exit::usage);
  return path;
}

std::string only_set(const Options& options) {
  if (options.to.size() != 1)
    throw Error(options.to.empty() ? "which archive set? Name it with --to archive:DIR" : "expected one --to",
                Exit::usage);
  return set_path(options.to[0]);
}

std::string source_of(const Options& options) {
  return options.from.empty() ? only_set(options) : options.from;
}

void add_from_option(Verb& verb, Options& options) {
  verb.option("--from", "FILE", options.from, "a single archive instead of a set");
}

}  // namespace vs::backup
