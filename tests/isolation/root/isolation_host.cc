#include "tests/isolation/root/isolation_host.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "isolation/context/cgroup.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBusybox = "/usr/bin/busybox";

int machine_network = -1;

// Once for the whole program: addresses of tests are never the host's.
bool own_network() {
  if (machine_network < 0) machine_network = ::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  static const bool done =
      ::unshare(CLONE_NEWNET) == 0 && run({"ip", "link", "set", "lo", "up"}).exit_code == 0;
  return done;
}

}  // namespace

std::optional<Obstacle> IsolationHost::impossible() {
  if (::geteuid() != 0) return Obstacle{Skip::kRoot, "makes namespaces"};
  if (::access(kBusybox, X_OK) != 0) return missing(kBusybox, "busybox-static");
  if (auto none = without_program("ip", "iproute2")) return none;
  try {
    const isolation::Cgroups cgroups;
  } catch (const std::exception& error) {
    return Obstacle{Skip::kKernel, error.what()};
  }
  if (!own_network()) return Obstacle{Skip::kKernel, "makes no network namespace"};
  return std::nullopt;
}

IsolationHost::IsolationHost(const std::string& pool)
    : trees_((pool.empty() ? dir_.path() : pool) + "/trees") {
  fs::create_directories(trees_);
  for (const char* dir : {"conf", "run", "services"}) fs::create_directories(dir_ / dir);
}

IsolationHost::~IsolationHost() {
  for (const auto& name : names_) vserver(name, {"stop"});
  EXPECT_EQ(left_behind(), "");
}

std::map<std::string, std::string> IsolationHost::environment() const {
  return {{"VS_VSERVER_CONF", dir_ / "conf"},
          {"VS_VSERVER_TREES", trees_},
          {"VS_VSERVER_RUN", dir_ / "run"},
          {"VS_VSERVER_HOST_CONF", dir_ / "vservers.conf"},
          {"VS_VSERVICES", dir_ / "services"}};
}

void IsolationHost::configure(const std::string& name, const std::string& conf) {
  std::ofstream(dir_ / ("conf/" + name + ".conf")) << conf;
}

std::string IsolationHost::name_of(const std::string& given, const std::string& conf) {
  const std::string name = fmt::format("t{}-{}", ::getpid(), given);
  names_.push_back(name);
  configure(name, conf);
  return name;
}

std::string IsolationHost::add_real(const std::string& given, const std::string& conf, Command recipe) {
  const std::string name = name_of(given, conf);
  // What is not in the cache yet comes over the machine's network.
  recipe.insert(recipe.begin(), {"nsenter", fmt::format("--net=/proc/{}/fd/{}", ::getpid(), machine_network),
                                 VS_SOURCE_DIR "/tests/support/guests.sh"});
  for (auto& word : recipe)
    if (word.empty()) word = tree(name);
  const auto made = run(recipe, {{}, {}, std::chrono::minutes(10)});
  if (made.exit_code != 0) throw std::runtime_error("no real guest: " + shown(made));
  return name;
}

std::string IsolationHost::add(const std::string& given, const std::string& conf) {
  const std::string name = name_of(given, conf);
  for (const char* dir : {"bin", "etc", "tmp", "root"}) fs::create_directories(tree(name) + "/" + dir);
  fs::copy_file(kBusybox, tree(name) + "/bin/busybox");
  for (const char* applet :
       {"sh", "ls", "cat", "ps", "id", "sleep", "kill", "hostname", "true", "nc", "wget", "ip"})
    fs::create_symlink("busybox", tree(name) + "/bin/" + applet);
  fs::copy_file(VS_BINARY_DIR "/isolation_attacker", tree(name) + "/attacker");
  std::ofstream(tree(name) + "/etc/passwd") << "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/tmp:/bin/sh\n";
  std::ofstream(tree(name) + "/etc/group") << "root:x:0:\nwww:x:33:\nextra:x:77:www\n";
  return name;
}

std::string IsolationHost::add_debian(const std::string& given, const std::string& conf,
                                      const std::string& packages) {
  std::string suite = must_run({VS_SOURCE_DIR "/tests/support/guests.sh", "suite"});
  suite.pop_back();
  return add_real(given, conf, {"debian", suite, "", packages});
}

RunResult IsolationHost::vserver(const std::string& name, std::vector<std::string> words,
                                 std::map<std::string, std::string> env,
                                 std::vector<std::string> options) const {
  Command command = {VS_BINARY_DIR "/vserver"};
  command.insert(command.end(), options.begin(), options.end());
  command.push_back(name);
  command.insert(command.end(), words.begin(), words.end());
  env.merge(environment());
  return run(command, {env, {}, std::chrono::milliseconds(60000)});
}

RunResult IsolationHost::tool(Command command) const {
  command[0] = VS_BINARY_DIR "/" + command[0];
  return run(command, {environment(), {}, std::chrono::milliseconds(60000)});
}

RunResult IsolationHost::vserver_on_the_network(const std::string& name,
                                                std::vector<std::string> words) const {
  Command command = {"nsenter", fmt::format("--net=/proc/{}/fd/{}", ::getpid(), machine_network),
                     VS_BINARY_DIR "/vserver", name};
  command.insert(command.end(), words.begin(), words.end());
  return run(command, {environment(), {}, std::chrono::minutes(5)});
}

std::unique_ptr<Process> IsolationHost::background(const std::string& name,
                                                   std::vector<std::string> words) const {
  Command command = {VS_BINARY_DIR "/vserver", name};
  command.insert(command.end(), words.begin(), words.end());
  return std::make_unique<Process>(command, RunOptions{environment(), {}, std::chrono::milliseconds(60000)});
}

void IsolationHost::end(Process& process) const {
  process.signal_group(SIGKILL);
  process.wait();
  EXPECT_TRUE(within(std::chrono::seconds(10), [&] {
    tool({"vserver-stat"});  // sweeps
    return left_behind().empty();
  })) << left_behind();
}

bool IsolationHost::appears(const std::string& name, const std::string& file) const {
  return within(std::chrono::seconds(10), [&] { return fs::exists(tree(name) + file); });
}

RunResult IsolationHost::attack(const std::string& name, std::vector<std::string> words) const {
  words.insert(words.begin(), {"exec", "/attacker"});
  return vserver(name, words);
}

std::string IsolationHost::left_behind() const {
  std::string left;
  const auto add = [&left](const std::string& text) { left += (left.empty() ? "" : "; ") + text; };
  const isolation::Cgroups cgroups;
  for (const auto& name : names_) {
    if (cgroups.exists(name)) add("cgroup " + name);
    for (const char* controller : {"memory", "cpu", "pids"})  // version 1, where limits live there
      if (fs::exists(fmt::format("/sys/fs/cgroup/{}/vservers/{}", controller, name)))
        add(fmt::format("cgroup {} of {}", name, controller));
    if (fs::exists(dir_ / ("run/reboot/" + name))) add("reboot/" + name);
    for (const char* kind : {"held", "ctx", "filter"})
      if (fs::exists(dir_ / fmt::format("run/{}.{}", name, kind))) add(name + "." + kind);
  }
  if (fs::exists(dir_ / "run/ctx"))
    for (const auto& entry : fs::directory_iterator(dir_ / "run/ctx"))
      if (entry.path().filename() != ".lock") add("context " + entry.path().filename().string());
  const std::string addresses = must_run({"ip", "-o", "addr", "show", "lo"});
  if (addresses.find("10.99.") != std::string::npos || addresses.find("fd5c:9a1e:") != std::string::npos)
    add("addresses " + addresses);
  const std::string links = must_run({"ip", "-o", "link"});
  for (const auto& name : names_)
    if (links.find("vserver " + name) != std::string::npos) add("interface of " + name);
  for (const auto& name : names_)
    if (must_run({"cat", "/proc/self/mounts"}).find(name) != std::string::npos) add("mount of " + name);
  return left;
}

}  // namespace vs::test
