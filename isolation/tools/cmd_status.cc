// running, status: looking only.
#include <fmt/format.h>

#include <ctime>

#include "core/size_text.h"
#include "isolation/context/user_namespace.h"
#include "isolation/tools/vserver_verbs.h"
#include "isolation/trees/project_quota.h"
#include "isolation/vserver/lifecycle.h"
#include "isolation/vserver/vserver_config.h"

namespace vs::isolation {
namespace {

std::string uptime_text(long seconds) {
  return fmt::format("{}d {:02}:{:02}:{:02}", seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60,
                     seconds % 60);
}

std::string fact(const ContextInfo& context, const char* key) {
  const auto it = context.facts.find(key);
  return it == context.facts.end() ? "" : it->second;
}

}  // namespace

int cmd_running(const VerbOptions& options) {
  Log log(Verbosity::normal, "vserver");
  Runtime runtime = make_runtime(log);
  const bool running = running_context(runtime, options.name).has_value();
  if (!options.silent) fmt::print("Server {} is {}running\n", options.name, running ? "" : "not ");
  return running ? 0 : 1;
}

int cmd_status(const VerbOptions& options) {
  Log log(Verbosity::normal, "vserver");
  Runtime runtime = make_runtime(log);
  const auto context = running_context(runtime, options.name);
  if (!context) {
    read_vserver_config(runtime.places, options.name);
    fmt::print("Server {} is not running\n", options.name);
    return 0;
  }
  const std::string started = fact(*context, "STARTED");
  const long now = std::time(nullptr);
  fmt::print("Server {} is running{}\n{} processes running\n", options.name,
             runtime.cgroups.frozen(options.name) ? ", frozen" : "", runtime.cgroups.processes(options.name));
  fmt::print("Vserver uptime: {}\n", uptime_text(started.empty() ? 0 : now - std::stol(started)));
  if (const auto disk = disk_use(read_vserver_config(runtime.places, options.name).root, options.name))
    fmt::print("Disk: {} of {}\n", size_text(disk->used),
               disk->limit == 0 ? "all there is" : size_text(disk->limit));
  if (const auto first = fact(*context, "USERNS"); !first.empty())
    fmt::print("User ids: {} to {} of the host\n", first, std::stoul(first) + kIdsOfGuest - 1);
  fmt::print("Context: {}\nAddresses: {}\nGuards: {}\n", context->number, fact(*context, "ADDRESSES"),
             fact(*context, "GUARDS"));
  return 0;
}

}  // namespace vs::isolation
