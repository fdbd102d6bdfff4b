#include "core/cgroup_freeze.h"

#include <dirent.h>
#include <fcntl.h>

#include <cerrno>
#include <sstream>
#include <string_view>
#include <thread>

#include "core/durable/durable_file.h"
#include "core/tree/mount_table.h"
#include "core/tree/walker.h"

namespace vs {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A guest of a few hundred processes stands still within one of these.
constexpr milliseconds kPause{1};

// What the kernel says of a cgroup as a whole, see Stillness below.
bool has_frozen_event(const std::string& cgroup) {
  return read_or_empty(cgroup + "/cgroup.events").find("frozen 1") != std::string::npos;
}

// Whether everything in a cgroup and below stands still. The event file of its top does not tell: the kernel
// sets "frozen" there when all that is below is frozen, whatever its own processes do, and also when all its
// own are, whatever those below do. So each cgroup is asked for itself; of one that has both, each thread.
class Stillness final : public TreeVisitor {
 public:
  Expected<bool> visit(const WalkEntry& entry) override { return entry.type == DT_DIR; }
  Result enter(const WalkDirectory& cgroup) override {
    const std::string dir = "/proc/self/fd/" + std::to_string(cgroup.dir.fd());
    all = all && has_frozen_event(dir) && (is_leaf(dir) || threads_stand_still(dir));
    return Ok{};
  }
  bool failed(const Problem&) override { return all; }  // it went just now
  bool all = true;

 private:
  static bool is_leaf(const std::string& cgroup) {
    return read_or_empty(cgroup + "/cgroup.stat").find("nr_descendants 0\n") != std::string::npos;
  }
  static bool threads_stand_still(const std::string& cgroup) {
    std::istringstream threads(read_or_empty(cgroup + "/cgroup.threads"));
    for (std::string thread; threads >> thread;)
      if (!thread_stands_still(thread)) return false;
    return true;
  }
  // Stopped, traced or dead; or where a thread sleeps that was frozen on its way back to its program, or that
  // waits for a child (frozen itself) which has its memory. Which functions those are depends on what the
  // compiler inlined. "0" is a thread that runs.
  static bool thread_stands_still(const std::string& thread) {
    const std::string stat = read_or_empty("/proc/" + thread + "/stat");
    const size_t name_end = stat.rfind(") ");
    if (name_end == std::string::npos) return true;  // gone
    if (std::string_view("TtZX").find(stat[name_end + 2]) != std::string_view::npos) return true;
    const std::string sleeps_in = read_or_empty("/proc/" + thread + "/wchan");
    for (const char* frozen_in : {"do_freezer_trap", "get_signal", "wait_for_vfork_done", "kernel_clone"})
      if (sleeps_in == frozen_in) return true;
    return false;
  }
};

Result write_freeze(const std::string& cgroup, bool frozen) {
  const std::string file = cgroup + "/cgroup.freeze";
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return problem_from_errno("open for writing", file);
  return write_all(fd.get(), frozen ? "1" : "0", file);
}

}  // namespace

std::string cgroup2_mount() {
  for (const auto& mount : mount_table())
    if (mount.type == "cgroup2") return mount.point;
  return "";
}

bool is_frozen(const std::string& cgroup) {
  if (!has_frozen_event(cgroup)) return false;  // the common case, without a walk
  UniqueFd top(::open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!top) return false;
  const RootDir root(std::move(top), cgroup, false);
  Stillness stillness;
  return walk_tree(root, stillness).has_value() && stillness.all;
}

bool freeze_was_asked(const std::string& cgroup) {
  return has_frozen_event(cgroup) || read_or_empty(cgroup + "/cgroup.freeze").starts_with("1");
}

Result wait_until_frozen(const std::string& cgroup, bool frozen, milliseconds limit) {
  const auto end = steady_clock::now() + limit;
  while (is_frozen(cgroup) != frozen) {
    if (steady_clock::now() > end) return problem_from(ETIMEDOUT, frozen ? "freeze" : "thaw", cgroup);
    std::this_thread::sleep_for(kPause);
  }
  return Ok{};
}

Result set_frozen(const std::string& cgroup, bool frozen, milliseconds limit) {
  if (auto done = write_freeze(cgroup, frozen); !done) return done;
  return wait_until_frozen(cgroup, frozen, limit);
}

}  // namespace vs
