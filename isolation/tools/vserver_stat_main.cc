// vserver-stat: all contexts at a glance.
#include <fmt/format.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>

#include "core/error.h"
#include "core/log.h"
#include "isolation/context/arguments.h"
#include "isolation/context/cgroup.h"
#include "isolation/context/context.h"
#include "isolation/vserver/runtime.h"

namespace {

using namespace vs;
using namespace vs::isolation;

std::string fact(const ContextInfo& context, const char* key) {
  const auto it = context.facts.find(key);
  return it == context.facts.end() ? "" : it->second;
}

std::string uptime(const std::string& started) {
  if (started.empty()) return "-";
  const long seconds = std::time(nullptr) - std::stol(started);
  return seconds < 86400 ? fmt::format("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
                         : fmt::format("{}d{:02}h", seconds / 86400, seconds / 3600 % 24);
}

uint64_t host_processes(Contexts& contexts) {
  uint64_t count = 0;
  const auto living = contexts.list();
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") == std::string::npos &&
        contexts.of_process(static_cast<pid_t>(std::stol(name)), living) == kHost)
      ++count;
  }
  return count;
}

int run(int argc, char** argv) {
  Arguments arguments("vserver-stat", "",
                      "Lists the contexts of this host: number, processes, memory, processor time, uptime, "
                      "vserver, addresses, guards in force.",
                      "Exit codes: 0 done, 1 failed, 2 usage.\nExample:    vserver-stat");
  if (!arguments.parse(argc, argv).empty()) throw Error("expected no words", Exit::usage);
  if (::geteuid() != 0) throw Error("must be run by root");
  Log log(Verbosity::normal, "vserver-stat");
  Runtime runtime = make_runtime(log);
  runtime.cgroups.sweep(".chbind.");
  runtime.cgroups.sweep(".chcontext.");
  fmt::print("{:>5} {:>5} {:>9} {:>10} {:>9} {:<16} {:<20} {}\n", "CTX", "PROC", "MEMORY", "CPU", "UPTIME",
             "NAME", "ADDRESSES", "GUARDS");
  fmt::print("{:>5} {:>5} {:>9} {:>10} {:>9} {:<16} {:<20} {}\n", 0, host_processes(*runtime.contexts), "-",
             "-", "-", "(host)", "all", "-");
  for (const auto& context : runtime.contexts->list()) {
    const std::string name = fact(context, "CGROUP");
    if (name.empty()) {
      fmt::print("{:>5} {:>5} {:>9} {:>10} {:>9} {:<16} {:<20} {}\n", context.number, "-", "-", "-", "-",
                 "(chcontext)", "all", "namespaces");
      continue;
    }
    fmt::print("{:>5} {:>5} {:>8}M {:>9.2f}s {:>9} {:<16} {:<20} {}\n", context.number,
               runtime.cgroups.processes(name), runtime.cgroups.memory_used(name) >> 20,
               static_cast<double>(runtime.cgroups.cpu_used_us(name)) / 1e6, uptime(fact(context, "STARTED")),
               context.name, fact(context, "ADDRESSES"), fact(context, "GUARDS"));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("vserver-stat", 0, [&] { return run(argc, argv); });
}
