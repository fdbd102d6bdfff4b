// Options of the small tools: what follows the first word that is no option is the command to run, untouched.
//
// Not CLI11: these tools start a command and must cost no more than the command; and the original's options
// (--NET_RAW, --ctx twice,
// "--" or none before the command) are not its style.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace vs::isolation {

class Arguments {
 public:
  // `usage` is the line after "usage: PROGRAM"; `about` a sentence or more; `footer` exit codes and an
  // example.
  Arguments(std::string program, std::string usage, std::string about, std::string footer);
  void flag(const std::string& name, bool& target, const std::string& help);
  void value(const std::string& name, const std::string& metavar, std::string& target,
             const std::string& help);
  void list(const std::string& name, const std::string& metavar, std::vector<std::string>& target,
            const std::string& help);
  // Asked for options that are in no table (reducecap's --NET_RAW); true when it knew the option.
  void otherwise(std::function<bool(const std::string& name)> take) { otherwise_ = std::move(take); }
  // The words after the options. Throws Error(Exit::usage); prints help and throws Shown for --help and
  // --version.
  std::vector<std::string> parse(int argc, char** argv);
  // For tools that hand their options on to another program: --help and --version are answered when they come
  // first, all else is returned untouched.
  std::vector<std::string> pass_through(int argc, char** argv);
  std::string help() const;

  struct Shown {};  // --help was answered: exit 0

 private:
  struct Option {
    std::string name, metavar, help;
    std::function<void(const std::string&)> set;
  };
  std::string program_, usage_, about_, footer_;
  std::vector<Option> options_;
  std::function<bool(const std::string&)> otherwise_;
};

// Runs a tool: errors go to stderr as "PROGRAM: error: ...". An Error's own code is the exit status, but
// `failure` where it is not 0 (125 for tools that pass on the status of a command).
int run_tool(const std::string& program, int failure, const std::function<int()>& body);

// The last step of a tool: this process becomes the command, looked for in PATH. Returns only when that
// failed, after telling so as PROGRAM: 127 when the command was not found, 126 when it could not be run.
int exec_program(const std::string& program, const std::vector<std::string>& command);

}  // namespace vs::isolation
