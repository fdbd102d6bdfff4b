#include "isolation/tools/package_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "core/error.h"
#include "isolation/context/arguments.h"
#include "isolation/context/context.h"
#include "isolation/tools/program_beside.h"
#include "isolation/vserver/vserver_config.h"

namespace vs::isolation {
namespace {

struct Options {
  bool unify = false, keep_shared = false, silent = false;
  std::string vunify_config;
  std::vector<std::string> names, words;
  std::vector<std::string> vunify(const std::string& verb) const {
    std::vector<std::string> command = {program_beside("vunify"), verb};
    if (!vunify_config.empty()) command.insert(command.end(), {"--config", vunify_config});
    return command;
  }
  std::vector<std::string> vunify_unhold(const std::string& name) const {
    std::vector<std::string> command = vunify("release");
    command.insert(command.end(), {"--quiet", "--unhold", name});
    return command;
  }
};

// NAME... -- WORD...; ALL are those that run.
void split(const std::vector<std::string>& given, const PackageTool& tool, Options& options) {
  const auto border = std::find(given.begin(), given.end(), "--");
  options.names.assign(given.begin(), border);
  if (border != given.end()) options.words.assign(border + 1, given.end());
  if (options.names.empty() || options.words.empty())
    throw Error(fmt::format("expected NAME... -- WORD...; see {} --help", tool.program), Exit::usage);
  if (options.names != std::vector<std::string>{"ALL"}) {
    for (const auto& name : options.names) check_vserver_name(name);
    return;
  }
  options.names.clear();
  for (const auto& context : make_contexts(places_from_environment())->list())
    if (!context.name.empty()) options.names.push_back(context.name);
  std::sort(options.names.begin(), options.names.end());
}

std::vector<std::string> inside(const PackageTool& tool, const std::string& name,
                                const std::vector<std::string>& words) {
  std::vector<std::string> command = {program_beside("vserver"), name, "exec", tool.inside};
  command.insert(command.end(), words.begin(), words.end());
  return command;
}

int release(const PackageTool& tool, const std::string& name, const Options& options) {
  std::vector<std::string> command = options.vunify("release");
  // No nightly run shares again what is just being replaced, as long as we live.
  command.insert(command.end(), {"--hold-while", std::to_string(::getpid()), name});
  if (const auto simulation = tool.simulation(options.words); !simulation.empty()) {
    std::string simulated;
    // A command that cannot even be simulated will say itself what is wrong with it.
    if (output_of(inside(tool, name, simulation), simulated) != 0) return 0;
    const auto packages = packages_to_change(simulated);
    if (packages.empty()) return 0;
    for (const auto& package : packages) command.insert(command.end(), {"--package", package});
  }
  return status_of(command);
}

int run_in(const PackageTool& tool, const std::string& name, const Options& options) {
  if (!options.silent) {
    fmt::print("{}:\n", name);
    std::fflush(stdout);
  }
  if (!options.keep_shared && tool.changes(options.words))
    if (const int status = release(tool, name, options); status != 0) {
      fmt::print(stderr, "{}: error: vserver {}: vunify release ended with status {}; nothing was tried\n",
                 tool.program, name, status);
      return 125;
    }
  const int status = status_of(inside(tool, name, options.words));
  if (status != 0)
    fmt::print(stderr, "{}: error: vserver {}: {} ended with status {}\n", tool.program, name, tool.inside,
               status);
  return status;
}

bool is_package_name(const std::string& text) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
  };
  return text.size() > 1 && text[0] != '-' && std::all_of(text.begin(), text.end(), good);
}

}  // namespace

std::vector<std::string> packages_to_change(const std::string& simulated) {
  std::vector<std::string> packages;
  std::istringstream lines(simulated);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream stream(line);
    std::string what, name, installed;
    stream >> what >> name >> installed;
    // Without a version in brackets it is not installed yet and has no files.
    if ((what != "Inst" && what != "Remv" && what != "Purg") || !installed.starts_with('[')) continue;
    name = name.substr(0, name.find(':'));
    if (is_package_name(name)) packages.push_back(name);
  }
  std::sort(packages.begin(), packages.end());
  packages.erase(std::unique(packages.begin(), packages.end()), packages.end());
  return packages;
}

int run_package_tool(const PackageTool& tool, int argc, char** argv) {
  return run_tool(tool.program, 125, [&] {
    Options options;
    Arguments arguments(
        tool.program, fmt::format("[OPTION...] NAME...|ALL -- WORD OF {}...", tool.inside),
        fmt::format("Runs {} with these words inside of vservers that run, one after the other; ALL are "
                    "those that run. Where shared files are sealed a command that changes packages\n"
                    "gets private copies of theirs first (vunify release).",
                    tool.inside),
        fmt::format("Exit codes: 0 done in all; else that of the first that failed, each was named; 125 when "
                    "it could not be tried.\nExample:    {}",
                    tool.example));
    arguments.flag("--unify", options.unify, "run vunify afterwards: what is equal again is shared again");
    arguments.flag("--keep-shared", options.keep_shared, "release nothing");
    arguments.value("--vunify-config", "FILE", options.vunify_config, "configuration file for vunify");
    arguments.flag("--silent", options.silent, "do not print the names");
    split(arguments.parse(argc, argv), tool, options);
    if (::geteuid() != 0) throw Error("must be run by root");
    int first = 0;
    for (const auto& name : options.names)
      if (const int status = run_in(tool, name, options); first == 0) first = status;
    if (!options.unify) return first;
    if (!options.keep_shared)
      for (const auto& name : options.names) status_of(options.vunify_unhold(name));
    const int status = status_of(options.vunify("run"));
    return first != 0 ? first : status;
  });
}

}  // namespace vs::isolation
