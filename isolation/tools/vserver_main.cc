// vserver NAME VERB: the original's order of words.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/escape.h"
#include "isolation/confine/confine.h"
#include "isolation/context/arguments.h"
#include "isolation/tools/vserver_verbs.h"
#include "isolation/vserver/vserver_config.h"

namespace {

using namespace vs;
using namespace vs::isolation;

std::string verbs_text() {
  std::string text = "VERBs:\n";
  for (const auto& verb : vserver_verbs())
    text += fmt::format("  {:<24}  {}\n", std::string(verb.name) + " " + verb.words, verb.help);
  return text;
}

int run(int argc, char** argv, int& failure) {
  VerbOptions options;
  Arguments arguments(
      "vserver", "[OPTION...] NAME VERB [WORD...]",
      "Starts, stops and enters a vserver: a directory tree with processes of its own.\n\n" + verbs_text(),
      "Exit codes: 0 done, 1 failed (running: it is not), 2 usage, 11 another command is at it. exec, "
      "suexec, enter and service: the command's own,\n"
      "            125 when it could not be tried, 126 and 127 as env(1).\n"
      "Example:    vserver web1 start && vserver web1 exec ps ax");
  arguments.flag("--silent", options.silent, "say only what went wrong");
  arguments.flag("--verbose", options.verbose, "say each step");
  arguments.flag("--nodev", options.nodev, "do not add or remove network addresses");
  const auto words = arguments.parse(argc, argv);
  if (words.size() < 2) throw Error("expected NAME and VERB; see vserver --help", Exit::usage);
  const VserverVerb* verb = nullptr;
  for (const auto& one : vserver_verbs())
    if (words[1] == one.name) verb = &one;
  if (verb == nullptr)
    throw Error(fmt::format("'{}' is no verb; see vserver --help", escaped(words[1])), Exit::usage);
  if (::geteuid() != 0) throw Error("must be run by root");
  if (verb->runs_command) failure = 125;
  check_vserver_name(words[0]);
  options.name = words[0];
  options.words.assign(words.begin() + 2, words.end());
  run_from_read_only_self(argv);
  return verb->run(options);
}

}  // namespace

int main(int argc, char** argv) {
  int failure = 0;
  try {
    return run_tool("vserver", 0, [&] {
      try {
        return run(argc, argv, failure);
      } catch (const Error& error) {
        if (failure == 0) throw;
        fmt::print(stderr, "vserver: error: {}\n", error.what());
        return failure;
      }
    });
  } catch (...) {
    return 1;
  }
}
