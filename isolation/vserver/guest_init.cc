#include "isolation/vserver/guest_init.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "core/subprocess.h"
#include "isolation/confine/confine.h"
#include "isolation/context/init.h"

namespace vs::isolation {
namespace {

namespace fs = std::filesystem;

constexpr int kStartLevel = 2;  // Debian's; the others are links to the same scripts
constexpr int kStopLevel = 0;

bool executable(const char* path) {
  return ::access(path, X_OK) == 0;
}

const char* runlevel_script() {
  for (const char* path : {"/etc/init.d/rc", "/etc/rc.d/rc"})
    if (executable(path)) return path;
  return nullptr;
}

// A script that fails or cannot be run keeps none of the others from running.
void run_and_wait(const std::vector<std::string>& command) {
  const auto result = run_to_end({.arguments = command, .environment = guest_environment({})});
  if (!result) ::dprintf(STDERR_FILENO, "%s\n", result.error().message.c_str());
}

// The scripts of /etc/rcN.d in order, for guests whose init package is missing.
int run_rc_directory(int level) {
  std::vector<std::string> scripts;
  const std::string dir = "/etc/rc" + std::to_string(level) + ".d";
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir, error)) scripts.push_back(entry.path().filename());
  std::sort(scripts.begin(), scripts.end());
  for (const char kind : {'K', 'S'})
    for (const auto& script : scripts)
      // In level 0 the S scripts halt the machine; the machine is not ours to halt.
      if (script[0] == kind && (kind == 'K' || level != kStopLevel))
        run_and_wait({dir + "/" + script, kind == 'K' ? "stop" : "start"});
  return 0;
}

}  // namespace

InitStyle detect_init(const VserverConfig& config) {
  if (config.init != InitStyle::automatic) return config.init;
  if (!config.has_flag("fakeinit") && runlevel_script() != nullptr) return InitStyle::rc;
  if (executable("/sbin/init")) {
    std::error_code error;
    const std::string target = fs::canonical("/sbin/init", error).filename();
    return target == "systemd" ? InitStyle::systemd : InitStyle::sysv;
  }
  return fs::is_directory("/etc/rc2.d") ? InitStyle::rc : InitStyle::plain;
}

const char* init_style_name(InitStyle style) {
  switch (style) {
    case InitStyle::systemd:
      return "systemd";
    case InitStyle::sysv:
      return "sysv";
    case InitStyle::rc:
      return "rc";
    case InitStyle::plain:
      return "plain";
    case InitStyle::automatic:
      break;
  }
  return "auto";
}

InitStyle init_style_named(const std::string& name) {
  for (const auto style : {InitStyle::systemd, InitStyle::sysv, InitStyle::rc})
    if (name == init_style_name(style)) return style;
  return InitStyle::plain;
}

Result own_standard_files() {
  const UniqueFd in(::open("/dev/null", O_RDONLY | O_NOFOLLOW | O_CLOEXEC)),
      out(::open("/run/boot.log", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640));
  if (!in || !out) return problem_from_errno("open in the guest", "/run/boot.log");
  ::dup2(in.get(), 0);
  ::dup2(out.get(), 1);
  ::dup2(out.get(), 2);
  return Ok{};
}

int run_guest_init(InitStyle style) {
  if (style == InitStyle::sysv) return exec_command({"/sbin/init"}, guest_environment({}));
  // In a container systemd reads its options from its own command line. There is no terminal to log in at.
  if (style == InitStyle::systemd)
    return exec_command({"/lib/systemd/systemd", "--system", "systemd.getty_auto=0"}, guest_environment({}));
  return run_init(InitEnds::when_asked, [style] {
    if (style == InitStyle::plain) return 0;
    if (const char* script = runlevel_script())
      return exec_command({script, std::to_string(kStartLevel)}, guest_environment({}));
    return run_rc_directory(kStartLevel);
  });
}

bool has_shutdown(InitStyle style) {
  return style == InitStyle::sysv || style == InitStyle::rc;
}

int run_guest_shutdown(InitStyle style) {
  if (style == InitStyle::sysv)
    return exec_command({"/sbin/init", std::to_string(kStopLevel)}, guest_environment({}));
  if (const char* script = runlevel_script())
    return exec_command({script, std::to_string(kStopLevel)}, guest_environment({}));
  return run_rc_directory(kStopLevel);
}

int end_signal(InitStyle style) {
  return style == InitStyle::systemd ? SIGRTMIN + 4 : SIGTERM;
}

}  // namespace vs::isolation
