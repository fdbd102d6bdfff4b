// newvserver: asks what `vserver NAME build` needs, shows what it will do, and does it.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "core/error.h"
#include "core/escape.h"
#include "isolation/context/arguments.h"
#include "isolation/tools/program_beside.h"
#include "isolation/vserver/vserver_config.h"

namespace {

using namespace vs;
using namespace vs::isolation;

struct Answers {
  std::string name, hostname, ip, device, clone, method, suite, packages, from, unify;
  bool yes = false, dry_run = false;
};

// One question; an empty answer is what is given already. The text is a person's own, typed here.
void ask(const std::string& question, std::string& answer) {
  fmt::print("{} [{}]: ", question, escaped(answer));
  std::fflush(stdout);
  std::string line;
  if (!std::getline(std::cin, line)) throw Error("no answer", Exit::interrupted);
  if (!line.empty()) answer = line;
}

bool yes(const std::string& question) {
  std::string answer = "no";
  ask(question, answer);
  return answer == "yes" || answer == "y";
}

void ask_all(Answers& answers) {
  ask("Name of the vserver", answers.name);
  check_vserver_name(answers.name);
  if (answers.hostname.empty()) answers.hostname = answers.name;
  ask("Host name", answers.hostname);
  ask("Addresses (INTERFACE:ADDRESS/LENGTH or ADDRESS/LENGTH, blank between; empty: all of the host)",
      answers.ip);
  if (!answers.ip.empty())
    ask("Interface of addresses that name none (empty: they exist already)", answers.device);
  ask("Made by (debootstrap, template, clone, skeleton)", answers.method);
  if (answers.method == "clone") ask("Clone of", answers.clone);
  if (answers.method == "template") ask("Tar file", answers.from);
  if (answers.method == "debootstrap") ask("Release", answers.suite);
  ask("Unify it with the other vservers (1 or 0)", answers.unify);
}

std::vector<std::string> build_command(const Answers& answers) {
  std::vector<std::string> command = {program_beside("vserver"), answers.name, "build", "--method",
                                      answers.method};
  const auto add = [&command](const char* option, const std::string& value) {
    if (!value.empty()) command.insert(command.end(), {option, value});
  };
  add("--from", answers.method == "clone" ? answers.clone : answers.from);
  if (answers.method == "debootstrap") {
    add("--suite", answers.suite);
    add("--packages", answers.packages);
  }
  add("--ip", answers.ip);
  add("--ondev", answers.device);
  add("--hostname", answers.hostname);
  return command;
}

std::string shown(const std::vector<std::string>& command) {
  std::string text;
  for (const auto& word : command)
    text += (text.empty() ? "" : " ") +
            (word.find(' ') == std::string::npos ? escaped(word) : "'" + escaped(word) + "'");
  return text;
}

Answers parse(int argc, char** argv) {
  Answers answers;
  answers.unify = "0";
  Arguments arguments(
      "newvserver", "[OPTION...]",
      "Makes a vserver: asks on a terminal for what is not given, shows the commands, and runs them: vserver "
      "NAME build, and vunify run if it shall be unified.\n"
      "Without a terminal nothing is asked; then --name is needed.",
      "Exit codes: 0 done, 1 failed, 2 usage, 130 no was said. Else that of the command that "
      "failed.\nExample:    newvserver --name web2 --clone web1 --ip 192.168.1.3/24 --ondev eth0 --unify 1");
  arguments.value("--name", "NAME", answers.name, "of the vserver");
  arguments.value("--hostname", "NAME", answers.hostname, "host name inside");
  arguments.value("--ip", "ADDRESS", answers.ip, "IPROOT of NAME.conf");
  arguments.value("--ondev", "INTERFACE", answers.device, "IPROOTDEV of NAME.conf");
  arguments.value("--clone", "NAME", answers.clone, "copy this vserver");
  arguments.value("--method", "METHOD", answers.method,
                  "as of vserver NAME build; debootstrap, or clone with --clone");
  arguments.value("--from", "FILE", answers.from, "for method template");
  arguments.value("--suite", "SUITE", answers.suite, "for method debootstrap");
  arguments.value("--packages", "NAME,...", answers.packages, "for method debootstrap");
  arguments.value("--unify", "1|0", answers.unify, "run vunify afterwards");
  arguments.flag("--yes", answers.yes, "ask nothing");
  arguments.flag("--dry-run", answers.dry_run, "only show the commands");
  if (!arguments.parse(argc, argv).empty())
    throw Error("expected options only; see newvserver --help", Exit::usage);
  if (answers.method.empty()) answers.method = answers.clone.empty() ? "debootstrap" : "clone";
  return answers;
}

void check(const Answers& answers) {
  if (answers.name.empty()) throw Error("expected --name NAME", Exit::usage);
  check_vserver_name(answers.name);
  if (answers.unify != "0" && answers.unify != "1") throw Error("--unify: expected 1 or 0", Exit::usage);
  if (answers.method == "clone" && answers.clone.empty())
    throw Error("method clone: expected --clone NAME", Exit::usage);
}

int run(int argc, char** argv) {
  Answers answers = parse(argc, argv);
  const bool asks = !answers.yes && ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
  if (asks) ask_all(answers);
  check(answers);
  std::vector<std::vector<std::string>> commands = {build_command(answers)};
  if (answers.unify == "1") commands.push_back({program_beside("vunify"), "run"});
  for (const auto& command : commands) fmt::print("will run: {}\n", shown(command));
  std::fflush(stdout);
  if (answers.dry_run) return 0;
  if (::geteuid() != 0) throw Error("must be run by root");
  if (asks && !yes("Do it")) return static_cast<int>(Exit::interrupted);
  for (const auto& command : commands)
    if (const int status = status_of(command); status != 0) return status;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("newvserver", 0, [&] { return run(argc, argv); });
}
