// Command lines with verbs, without CLI11 in every file (its header costs seconds of compile time a file).
//
// A value comes from, in rising precedence: the default, the configuration file (--config), the environment
// (VS_<OPTION> in capitals, '-' as '_'), the flag. The file has lines `option = value`, '#' begins a comment,
// an option that may be given several times may stand several times.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"

namespace vs {

class Verb {
 public:
  // `names` as "-j,--jobs"; `value` names the argument in the help text ("N").
  void option(const std::string& names, const std::string& value, std::string& target,
              const std::string& help);
  void option(const std::string& names, const std::string& value, uint64_t& target, const std::string& help);
  // One of these words, wherever it comes from; another is refused, naming the flag, variable or line it was
  // found in.
  void choice(const std::string& names, const std::string& value, const std::vector<std::string>& choices,
              std::string& target, const std::string& help);
  void list(const std::string& names, const std::string& value, std::vector<std::string>& target,
            const std::string& help);
  void flag(const std::string& names, bool& target, const std::string& help);
  void count(const std::string& names, int& target, const std::string& help);
  void argument(const std::string& name, std::string& target, const std::string& help, bool required);
  void arguments(const std::string& name, std::vector<std::string>& target, const std::string& help,
                 bool required);
  void footer(const std::string& text);  // exit codes and an example
  void action(std::function<Exit()> run);

  struct Impl;
  std::shared_ptr<Impl> impl;
};

class CommandLine {
 public:
  // `default_config` is read if it exists and --config is not given; "" for programs without one.
  CommandLine(const std::string& program, const std::string& description, const std::string& default_config);
  // A program with verbs calls verb() for each; one without calls whole() once.
  Verb verb(const std::string& name, const std::string& description);
  Verb whole();
  // Parses, runs the action, returns the exit code. Errors of any kind are printed to stderr as "PROGRAM:
  // error: ...", also that standard output cannot be written to. Where nobody reads it any more ("| head")
  // the program ends without a word, and with the code of one that SIGPIPE ended.
  int run(int argc, char** argv);

 private:
  int run_verb(int argc, char** argv);
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// The footer that every verb has.
std::string exit_codes(const std::string& codes, const std::string& example);

}  // namespace vs
