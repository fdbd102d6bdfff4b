// vservers: all vservers that start with the host, in their order.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/escape.h"
#include "isolation/confine/confine.h"
#include "isolation/context/arguments.h"
#include "isolation/context/run_program.h"
#include "isolation/vserver/lifecycle.h"
#include "isolation/vserver/vserver_config.h"

namespace {

using namespace vs;
using namespace vs::isolation;

using ByPriority = std::map<long, std::vector<std::string>>;

// A file with a mistake is told and keeps one vserver from starting, not the others.
ByPriority at_boot(Runtime& runtime, const HostSettings& settings, bool& trouble) {
  ByPriority order;
  for (const auto& name : configured(runtime.places)) {
    try {
      const auto config = read_vserver_config(runtime.places, name);
      if (config.onboot && (settings.profile.empty() || settings.profile == config.profile))
        order[config.priority].push_back(name);
    } catch (const Error& error) {
      runtime.log.error(error.what());
      trouble = true;
    }
  }
  return order;
}

int change_one(Runtime& runtime, const std::string& name, void (*change)(Runtime&, const std::string&)) {
  try {
    change(runtime, name);
    return 0;
  } catch (const std::exception& error) {
    runtime.log.error(fmt::format("vserver {}: {}", name, error.what()));
    return 1;
  }
}

// Side by side, each in a child, where BACKGROUND is set.
bool change_group(Runtime& runtime, const std::vector<std::string>& names, bool side_by_side,
                  void (*change)(Runtime&, const std::string&)) {
  bool good = true;
  std::vector<pid_t> children;
  for (const auto& name : names) {
    // Not core/subprocess: the child goes on with our own code.
    const pid_t pid = side_by_side ? ::fork() : -1;
    if (pid == 0) ::_exit(change_one(runtime, name, change));
    if (pid > 0)
      children.push_back(pid);
    else
      good = change_one(runtime, name, change) == 0 && good;
  }
  for (const pid_t pid : children) good = wait_for_child(pid) == 0 && good;
  return good;
}

bool start_all(Runtime& runtime, const HostSettings& settings) {
  bool trouble = false;
  for (const auto& [priority, names] : at_boot(runtime, settings, trouble))
    trouble = !change_group(runtime, names, settings.background, start_vserver) || trouble;
  return !trouble;
}

// Whatever runs, started at boot or by hand; highest priority first.
bool stop_all(Runtime& runtime, const HostSettings& settings) {
  ByPriority order;
  for (const auto& context : runtime.contexts->list()) {
    if (context.name.empty()) continue;
    long priority = 100;
    try {
      priority = read_vserver_config(runtime.places, context.name).priority;
    } catch (const Error&) {  // it must be stopped whatever became of its file
    }
    order[-priority].push_back(context.name);
  }
  bool good = true;
  for (const auto& [priority, names] : order)
    good = change_group(runtime, names, settings.background, stop_vserver) && good;
  return good;
}

void show_all(Runtime& runtime) {
  for (const auto& name : configured(runtime.places))
    fmt::print("Server {} is {}running\n", name, running_context(runtime, name) ? "" : "not ");
}

int run(int argc, char** argv) {
  bool silent = false, nodev = false;
  Arguments arguments(
      "vservers", "start|stop|restart|reload|status",
      "start: starts the vservers with ONBOOT=yes by ascending PRIORITY, side by side where BACKGROUND=yes "
      "in /etc/vservers.conf. stop: stops all that run, by\n"
      "descending PRIORITY. reload does what restart does.",
      "Exit codes: 0 done, 1 failed for at least one, each was named, 2 usage.\nExample:    vservers start");
  arguments.flag("--silent", silent, "say only what went wrong");
  arguments.flag("--nodev", nodev, "do not add or remove network addresses");
  const auto words = arguments.parse(argc, argv);
  if (words.size() != 1) throw Error("expected one of start, stop, restart, reload, status", Exit::usage);
  if (::geteuid() != 0) throw Error("must be run by root");
  run_from_read_only_self(argv);
  Log log(silent ? Verbosity::quiet : Verbosity::normal, "vservers");
  Runtime runtime = make_runtime(log);
  runtime.add_addresses = !nodev;
  const auto settings = read_host_settings(runtime.places);
  const std::string& verb = words[0];
  if (verb == "status") return show_all(runtime), 0;
  if (verb == "start") return start_all(runtime, settings) ? 0 : 1;
  if (verb == "stop") return stop_all(runtime, settings) ? 0 : 1;
  if (verb != "restart" && verb != "reload")
    throw Error(fmt::format("'{}' is no verb; see vservers --help", escaped(verb)), Exit::usage);
  const bool stopped = stop_all(runtime, settings);
  return start_all(runtime, settings) && stopped ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("vservers", 0, [&] { return run(argc, argv); });
}
