#include "isolation/context/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <functional>
#include <sstream>
#include <thread>
#include <vector>

#include "core/durable/durable_file.h"
#include "core/tree/mount_table.h"
#include "core/tree/walker.h"

namespace vs::isolation {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr auto kPause = 2ms;
// A full period of the processor controller: what the kernel takes by default.
constexpr uint64_t kCpuPeriodUs = 100000;
// The weight that the kernel gives to any group; that there is a group is the point.
constexpr uint64_t kOneShare = 100, kOneShareV1 = 1024;

Result write_value(const std::string& file, const std::string& value) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return problem_from_errno("open for writing", file);
  if (::write(fd.get(), value.data(), value.size()) < 0)
    return problem_from_errno(fmt::format("write {} to", value), file);
  return Ok{};
}

uint64_t value_after(const std::string& text, const std::string& key) {
  const size_t at = text.find(key + " ");
  return at == std::string::npos ? 0 : std::stoull(text.substr(at + key.size() + 1));
}

uint64_t number_in(const std::string& file) {
  const std::string text = read_or_empty(file);
  return text.empty() || text[0] < '0' || text[0] > '9' ? 0 : std::stoull(text);
}

// A zombie keeps a cgroup of version 1 until the host's process 1, its parent since the start command ended,
// has reaped it; some take seconds.
constexpr auto kReaped = 15s;

bool wait_until(const std::function<bool()>& done, std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(kPause);
  }
  return true;
}

// A guest nests cgroups as deep as it likes.
class CgroupVisitor : public TreeVisitor {
 public:
  Expected<bool> visit(const WalkEntry& entry) override { return entry.type == DT_DIR; }
  bool failed(const Problem&) override { return true; }  // it went just now, or processes are in it
};

// Deepest first; a cgroup directory is removed by rmdir although it has files.
class CgroupRemoval final : public CgroupVisitor {
 public:
  Result leave(const WalkDirectory& dir) override {
    if (dir.above != nullptr) ::unlinkat(dir.above->fd(), dir.name.data(), AT_REMOVEDIR);
    return Ok{};
  }
};

class ProcessCount final : public CgroupVisitor {
 public:
  Result enter(const WalkDirectory& dir) override {
    const std::string text = read_or_empty(fmt::format("/proc/self/fd/{}/cgroup.procs", dir.dir.fd()));
    count += static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n'));
    return Ok{};
  }
  uint64_t count = 0;
};

void walk_cgroup(const std::string& dir, TreeVisitor& visitor, bool leaves) {
  UniqueFd top(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!top) return;
  const RootDir root(std::move(top), dir, false);
  static_cast<void>(walk_tree(root, visitor, {.leaves = leaves}).has_value());
}

void remove_below(const std::string& dir) {
  CgroupRemoval removal;
  walk_cgroup(dir, removal, true);
}

bool gone(const std::string& dir) {
  remove_below(dir);
  return ::rmdir(dir.c_str()) == 0 || errno == ENOENT;
}

bool has_word(const std::string& text, const std::string& word) {
  std::istringstream stream(text);
  for (std::string one; stream >> one;)
    if (one == word) return true;
  return false;
}

}  // namespace

Cgroups::Cgroups() {
  for (const auto& mount : mount_table()) {
    if (mount.type == "cgroup2" && v2_.empty()) v2_ = mount.point;
    if (mount.type != "cgroup") continue;
    for (const char* controller : {"memory", "cpu", "pids"})
      if (("," + mount.options + ",").find(fmt::format(",{},", controller)) != std::string::npos)
        v1_.emplace(controller, mount.point);
  }
  if (v2_.empty())
    throw Error("no cgroup hierarchy of version 2 is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified");
}

namespace {

// One limit, as the files of both versions of cgroups have it.
struct Setting {
  const char* controller;
  uint64_t value;  // 0: no limit
  const char *v2_file, *v1_file;
  std::string v2_text, v1_text;
};

std::vector<Setting> settings_of(const Limits& limits) {
  return {{"memory", limits.memory, "memory.max", "memory.limit_in_bytes", fmt::to_string(limits.memory),
           fmt::to_string(limits.memory)},
          {"cpu", limits.cpu, "cpu.max", "cpu.cfs_quota_us",
           fmt::format("{} {}", limits.cpu * kCpuPeriodUs / 100, kCpuPeriodUs),
           fmt::to_string(limits.cpu * kCpuPeriodUs / 100)},
          {"cpu", limits.share ? kOneShare : 0, "cpu.weight", "cpu.shares", fmt::to_string(kOneShare),
           fmt::to_string(kOneShareV1)},
          {"pids", limits.pids, "pids.max", "pids.max", fmt::to_string(limits.pids),
           fmt::to_string(limits.pids)}};
}

Result make_directories(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  return error ? Result(problem_from(error.value(), "create the cgroup", path)) : Result(Ok{});
}

// Where the controller is mounted as version 1.
Result set_v1(const std::string& mount, const std::string& name, const Setting& setting) {
  const std::string dir = fmt::format("{}/vservers/{}", mount, name);
  if (auto done = make_directories(dir); !done) return done;
  return write_value(fmt::format("{}/{}", dir, setting.v1_file), setting.v1_text);
}

}  // namespace

Result Cgroups::make(const std::string& name, const Limits& limits) const {
  // One that is left over has programs and limits of another time. (One with processes cannot be removed.)
  if (exists(name))
    if (auto done = remove(name); !done) return done;
  const std::string dir = path(name);
  if (auto done = make_directories(dir); !done) return done;
  const std::string available = read_or_empty(v2_ + "/cgroup.controllers");
  for (const auto& setting : settings_of(limits)) {
    if (setting.value == 0) continue;
    if (has_word(available, setting.controller)) {
      for (const std::string& above : {v2_, v2_ + kGuestCgroups})
        if (auto done =
                write_value(above + "/cgroup.subtree_control", fmt::format("+{}", setting.controller));
            !done)
          return done;
      if (auto done = write_value(fmt::format("{}/{}", dir, setting.v2_file), setting.v2_text); !done)
        return done;
    } else if (const auto it = v1_.find(setting.controller); it != v1_.end()) {
      if (auto done = set_v1(it->second, name, setting); !done) return done;
    } else {
      return Problem{ENOTSUP, fmt::format("this host has no cgroup controller {} for a limit on it",
                                          setting.controller)};
    }
  }
  return make_directories(dir + "/guest");
}

Expected<UniqueFd> Cgroups::open(const std::string& name) const {
  UniqueFd fd(::open(path(name).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return problem_from_errno("open the cgroup", path(name));
  return fd;
}

Result Cgroups::give_processes(const std::string& name, uint32_t owner) const {
  for (const char* file : {"", "/cgroup.procs", "/cgroup.threads", "/cgroup.subtree_control"}) {
    const std::string path_to = path(name) + "/guest" + file;
    if (::chown(path_to.c_str(), owner, owner) != 0)
      return problem_from_errno("give to the guest's root", path_to);
  }
  return Ok{};
}

Expected<UniqueFd> Cgroups::open_processes(const std::string& name) const {
  return open(name + "/guest");
}

Result Cgroups::enter(const std::string& name, bool v2) const {
  for (const auto& [controller, point] : v1_) {
    const std::string dir = fmt::format("{}/vservers/{}", point, name);
    if (!fs::exists(dir)) continue;
    if (auto done = write_value(dir + "/cgroup.procs", "0"); !done) return done;
  }
  return v2 ? write_value(path(name) + "/guest/cgroup.procs", "0") : Result(Ok{});
}

std::vector<UniqueFd> Cgroups::open_v1_processes(const std::string& name) const {
  std::vector<UniqueFd> fds;
  for (const auto& [controller, point] : v1_) {
    UniqueFd fd(
        ::open(fmt::format("{}/vservers/{}/cgroup.procs", point, name).c_str(), O_WRONLY | O_CLOEXEC));
    if (fd) fds.push_back(std::move(fd));  // else the vserver has no limit of that controller
  }
  return fds;
}

bool Cgroups::exists(const std::string& name) const {
  return fs::exists(path(name));
}
bool Cgroups::populated(const std::string& name) const {
  return value_after(read_or_empty(path(name) + "/cgroup.events"), "populated") != 0;
}
bool Cgroups::frozen(const std::string& name) const {
  return is_frozen(path(name));
}

uint64_t Cgroups::processes(const std::string& name) const {
  ProcessCount processes;
  walk_cgroup(path(name), processes, false);
  return processes.count;
}

uint64_t Cgroups::memory_used(const std::string& name) const {
  if (const uint64_t used = number_in(path(name) + "/memory.current"); used != 0) return used;
  const auto it = v1_.find("memory");
  return it == v1_.end() ? 0
                         : number_in(fmt::format("{}/vservers/{}/memory.usage_in_bytes", it->second, name));
}

uint64_t Cgroups::cpu_used_us(const std::string& name) const {
  return value_after(read_or_empty(path(name) + "/cpu.stat"), "usage_usec");
}

Result Cgroups::kill(const std::string& name) const {
  if (!exists(name)) return Ok{};
  if (auto done = write_value(path(name) + "/cgroup.kill", "1"); !done) return done;
  if (!wait_until([&] { return !populated(name); }, 5s))
    return problem_from(ETIMEDOUT, "kill all of the cgroup", path(name));
  return Ok{};
}

Result Cgroups::freeze(const std::string& name, bool frozen_now) const {
  return set_frozen(path(name), frozen_now, 5s);
}

Result Cgroups::remove(const std::string& name) const {
  for (const auto& [controller, point] : v1_) {
    const std::string old = fmt::format("{}/vservers/{}", point, name);
    if (!wait_until([&] { return gone(old); }, kReaped)) return problem_from(EBUSY, "remove the cgroup", old);
    ::rmdir(fmt::format("{}/vservers", point).c_str());
  }
  if (!wait_until([&] { return gone(path(name)); }, kReaped))
    return problem_from(EBUSY, "remove the cgroup", path(name));
  ::rmdir((v2_ + kGuestCgroups).c_str());  // when it was the last
  return Ok{};
}

void Cgroups::sweep(const std::string& prefix) const {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(v2_ + kGuestCgroups, error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(prefix) && !populated(name))
      remove_below(entry.path()), ::rmdir(entry.path().c_str());
  }
  ::rmdir((v2_ + kGuestCgroups).c_str());  // when it was the last
}

}  // namespace vs::isolation
