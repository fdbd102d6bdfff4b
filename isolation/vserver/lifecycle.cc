#include "isolation/vserver/lifecycle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "core/crash_point.h"
#include "core/durable/host_lock.h"
#include "isolation/context/reboot_place.h"
#include "isolation/network/private_network.h"
#include "isolation/vserver/guest_init.h"
#include "isolation/vserver/held.h"
#include "isolation/vserver/hooks.h"
#include "isolation/vserver/start_steps.h"
#include "isolation/vserver/vserver_config.h"

namespace vs::isolation {
namespace {

namespace fs = std::filesystem;

// --- locks

UniqueFd run_dir(const Places& places) {
  std::error_code error;
  fs::create_directories(places.run, error);
  UniqueFd fd(::open(places.run.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) throw Error(problem_from_errno("open", places.run).message);
  return fd;
}

class Lock {
 public:
  Lock(const Places& places, const std::string& name)
      : dir_(run_dir(places)),
        lock_(dir_.get(), name + ".lock", fmt::format("{}/{}.lock", places.run, name)) {}

 private:
  UniqueFd dir_;
  HostLock lock_;
};

// --- what is held and how it is given back

Result give_back(Runtime& runtime, const Held::Item& item) {
  if (item.kind == "address") return remove_alias(parse_address(item.name));
  if (item.kind == "cgroup") return runtime.cgroups.remove(item.name);
  if (item.kind == "link") return remove_link(item.name);
  if (item.kind == "reboot") return remove_reboot_dir(runtime.places, item.name);
  if (item.kind == "context") runtime.contexts->forget(static_cast<unsigned>(std::stoul(item.name)));
  if (item.kind == "file") ::unlink(item.name.c_str());
  return Ok{};
}

// In the opposite order of taking, after the end of all processes: the first one of a guest whose start was
// killed may still be taking something. What cannot be given back is told and stays on the list for the next
// command.
void give_all_back(Runtime& runtime, const std::string& name) {
  const Held held(runtime.places, name);
  bool failed = false;
  const auto kill = [&](const Held::Item& item) {
    if (item.kind != "cgroup") return;
    if (const auto done = runtime.cgroups.kill(item.name); !done) {
      runtime.log.error(done.error().message);
      failed = true;
    }
  };
  const auto taken = held.items();
  std::for_each(taken.begin(), taken.end(), kill);
  auto items = held.items();  // once more: now nobody adds to it
  std::reverse(items.begin(), items.end());
  for (const auto& item : items)
    if (const auto done = give_back(runtime, item); !done) {
      runtime.log.error(done.error().message);
      failed = true;
    }
  if (!failed) held.end();
}

// --- stop

bool ended_within(const ContextInfo& context, long seconds) {
  const UniqueFd init(static_cast<int>(::syscall(SYS_pidfd_open, context.init, 0)));
  if (!init) return true;
  pollfd ready{init.get(), POLLIN, 0};
  return ::poll(&ready, 1, static_cast<int>(seconds * 1000)) > 0;
}

std::string held_init(const Runtime& runtime, const std::string& name) {
  for (const auto& item : Held(runtime.places, name).items())
    if (item.kind == "init") return item.name;
  return "plain";
}

void ask_to_end(Runtime& runtime, const ContextInfo& context, const std::string& name, long seconds) {
  const InitStyle style = init_style_named(held_init(runtime, name));
  if (has_shutdown(style)) {
    try {
      ExecOptions options;
      options.instead = [style] { return run_guest_shutdown(style); };
      options.limit_seconds = seconds;
      exec_in_context(runtime, context, options);
    } catch (const Error& error) {
      runtime.log.warning(error.what());
    }
  }
  if (style == InitStyle::sysv && ended_within(context, seconds)) return;
  ::kill(context.init, end_signal(style));
  ended_within(context, seconds);
}

std::optional<ContextInfo> context_of(Runtime& runtime, const std::string& name) {
  auto found = runtime.contexts->find_named(name);
  // An entry is there from the first moment; a start that was killed half way left no state file.
  if (found && ::access(fmt::format("{}/{}.ctx", runtime.places.run, name).c_str(), F_OK) != 0)
    return std::nullopt;
  return found;
}

}  // namespace

std::optional<ContextInfo> running_context(Runtime& runtime, const std::string& name) {
  auto found = context_of(runtime, name);
  if (found || !Held(runtime.places, name).exists()) return found;
  try {
    const Lock lock(runtime.places, name);
    found = context_of(runtime, name);  // somebody may have been at it
    if (!found) give_all_back(runtime, name);
  } catch (const Error& error) {
    if (error.code() != Exit::locked) throw;
  }
  return found;
}

void start_vserver(Runtime& runtime, const std::string& name) {
  const VserverConfig config = read_vserver_config(runtime.places, name);
  const Lock lock(runtime.places, name);
  if (context_of(runtime, name)) {
    runtime.log.info(fmt::format("vserver {} is already running", name));
    return;
  }
  Start start{runtime, config, Held(runtime.places, name), {}, {}, {}, {}, {}, {}, {}};
  if (start.held.exists()) give_all_back(runtime, name);
  start.held.begin();
  try {
    for (const auto& step : start_steps()) {
      runtime.log.verbose(step.name);
      step.take(start);
      crash_point(step.name);
    }
  } catch (...) {
    give_all_back(runtime, name);
    throw;
  }
}

void stop_vserver(Runtime& runtime, const std::string& name) {
  check_vserver_name(name);
  const Lock lock(runtime.places, name);
  const auto context = context_of(runtime, name);
  if (context) {
    run_hook(runtime.places, name, "pre-stop");
    ok_or_throw(remove_reboot_dir(runtime.places, name));  // from here on its end is the host's will
    if (runtime.cgroups.frozen(name)) ok_or_throw(runtime.cgroups.freeze(name, false));
    ask_to_end(runtime, *context, name, read_host_settings(runtime.places).stop_seconds);
  }
  give_all_back(runtime, name);
  if (context) run_hook(runtime.places, name, "post-stop");
}

int exec_in_vserver(Runtime& runtime, const std::string& name, const ExecOptions& options) {
  check_vserver_name(name);
  const auto context = running_context(runtime, name);
  if (!context) throw Error(fmt::format("vserver {} is not running", name));
  return exec_in_context(runtime, *context, options);
}

}  // namespace vs::isolation
