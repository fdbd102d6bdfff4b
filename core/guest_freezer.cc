#include "core/guest_freezer.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "core/cgroup_freeze.h"
#include "core/durable/durable_file.h"
#include "core/escape.h"

namespace vs {
namespace {

using std::chrono::milliseconds;

// How much later than its limit the guard thaws: whoever froze the guest is to do it himself, and knows what
// was read until then.
constexpr milliseconds kGrace{2000};

// How far up from a process's root directory the guest's is looked for: deeper than that a guest's processes
// may hide, and then the archive of it is live.
constexpr int kMostSteps = 1024;

struct Directory {
  uint64_t dev = 0, ino = 0;
  bool operator==(const Directory&) const = default;
};

struct ProcessSeen {
  std::string pid, cgroup;  // the cgroup as "/a/b"
  Directory root;
};

// O_PATH and no sync: a guest may have made its root a filesystem of its own (FUSE) that does not answer.
UniqueFd open_root(const std::string& pid) {
  return UniqueFd(::open(("/proc/" + pid + "/root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

std::optional<Directory> directory_of(const UniqueFd& fd) {
  if (!fd) return std::nullopt;  // gone, or being born
  const auto stat = stat_fd(fd.get(), "");
  if (!stat) return std::nullopt;
  return Directory{stat->dev, stat->ino};
}

// Whether the process's root directory is somewhere inside of `tree`: of a chroot in a guest. Goes up from
// it, in the mount namespace of the process.
bool root_is_inside(const std::string& pid, const Directory& tree) {
  UniqueFd fd = open_root(pid);
  auto at = directory_of(fd);
  for (int step = 0; at && step < kMostSteps; ++step) {
    if (*at == tree) return true;
    UniqueFd up(::openat(fd.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    const auto above = directory_of(up);
    if (above == at) return false;  // the top
    fd = std::move(up);
    at = above;
  }
  return false;
}

std::vector<ProcessSeen> all_processes() {
  std::vector<ProcessSeen> all;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const std::string pid = entry.path().filename();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto root = directory_of(open_root(pid));
    if (!root) continue;
    ProcessSeen seen{pid, "", *root};
    std::istringstream lines(read_or_empty("/proc/" + pid + "/cgroup"));
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with("0::")) seen.cgroup = line.substr(3);
    if (!seen.cgroup.empty()) all.push_back(std::move(seen));
  }
  return all;
}

bool is_below(const std::string& cgroup, const std::string& top) {
  return cgroup == top || cgroup.starts_with(top == "/" ? top : top + "/");
}

std::string common_top(const std::vector<const ProcessSeen*>& processes) {
  std::string top = processes.front()->cgroup;
  for (const auto* process : processes)
    while (top != "/" && !is_below(process->cgroup, top)) {
      const size_t slash = top.rfind('/');
      top = slash == 0 || slash == std::string::npos ? "/" : top.substr(0, slash);
    }
  // A vserver's own cgroup, so that `vserver NAME status` and `thaw` see what we did.
  const std::string vservers = std::string(kGuestCgroups) + "/";
  if (top.starts_with(vservers)) top = top.substr(0, top.find('/', vservers.size()));
  return top;
}

// Without it the roots of other processes cannot be looked at, and a sandbox may hide them (ProtectProc= of
// systemd): then nobody seems to run anywhere.
bool may_see_processes() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  return ::syscall(SYS_capget, &header, sets) == 0 && (sets[0].effective & (1u << CAP_SYS_PTRACE)) != 0;
}

// The guest's cgroup, or why it has none that could be frozen.
Expected<std::string> cgroup_of(const Guest& guest) {
  const auto all = all_processes();
  const auto host = directory_of(open_root("self"));
  if (!host) return problem_from_errno("look at", "/proc/self/root");
  if (!may_see_processes())
    return Problem{ENOTSUP, "whether " + escaped(guest.name) + " runs cannot be seen without CAP_SYS_PTRACE"};
  const Directory tree{guest.root.stat().dev, guest.root.stat().ino};
  std::vector<const ProcessSeen*> inside;
  for (const auto& process : all)
    if (process.root == tree || (process.root != *host && root_is_inside(process.pid, tree)))
      inside.push_back(&process);
  if (inside.empty()) return Problem{ESRCH, "no process runs in " + escaped(guest.name)};
  const std::string top = common_top(inside);
  const auto refuse = [&](const std::string& why) {
    return Problem{ENOTSUP, escaped(guest.name) + " cannot be frozen: " + why};
  };
  if (top == "/" || top == kGuestCgroups || top.find("/..") != std::string::npos) {
    // Most likely a few that somebody started by chroot beside the guest's own: name one that is in the
    // company of the host.
    for (const auto* process : inside)
      for (const auto& other : all)
        if (other.cgroup == process->cgroup && other.root == *host)
          return refuse("its process " + process->pid + " is in the host's cgroup " +
                        escaped(process->cgroup));
    return refuse("its processes have no cgroup of their own");
  }
  for (const auto& process : all)
    if (is_below(process.cgroup, top) && process.root == *host)
      return refuse("process " + process.pid + " of the host is in its cgroup " + escaped(top));
  return top;
}

// The watchdog: it thaws the cgroup if the socket that it holds is closed before it was told to stop, or if
// the time is up. First it sends one byte, to show that it has left our process group and so is not killed
// with us. Only calls that are safe after a fork of many threads; no descriptor of
// ours, whose locks it would hold on to.
[[noreturn]] void guard(int socket, int freeze, int limit_ms) {
  ::setsid();  // not killed with our process group
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) ::signal(signal, SIG_IGN);
  ::prctl(PR_SET_NAME, "vs-thaw");
  if (::dup2(socket, 0) < 0 || ::dup2(freeze, 1) < 0) ::_exit(1);
  ::close_range(2, ~0u, 0);
  if (::send(0, "r", 1, MSG_NOSIGNAL) != 1) ::_exit(1);
  pollfd poll{0, POLLIN, 0};
  char word = 0;
  while (::poll(&poll, 1, limit_ms) < 0 && errno == EINTR) {
  }
  const bool told = (poll.revents & POLLIN) != 0 && ::read(0, &word, 1) == 1;
  if (!told && ::write(1, "0", 1) != 1) ::_exit(1);
  ::_exit(0);
}

class Frozen : public FrozenGuest {
 public:
  Frozen(std::string cgroup, bool before) : cgroup_(std::move(cgroup)), before_(before) {}
  ~Frozen() override {
    // There is nobody to tell that thawing failed but the guard, who then does it again.
    const bool thawed = before_ || set_frozen(cgroup_, false, milliseconds(1000)).has_value() ||
                        !std::filesystem::exists(cgroup_);
    if (pid_ < 0) return;
    if (thawed) static_cast<void>(::send(socket_.get(), "x", 1, MSG_NOSIGNAL) == 1);
    socket_.reset();
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  Result begin(milliseconds limit) {
    if (before_) return wait_until_frozen(cgroup_, true, limit);  // by somebody else: it stays so
    if (auto guarded = start_guard(limit); !guarded) return guarded;
    return set_frozen(cgroup_, true, limit);
  }
  bool holds_still() const override { return is_frozen(cgroup_); }

 private:
  Result start_guard(milliseconds limit) {
    const std::string file = cgroup_ + "/cgroup.freeze";
    const UniqueFd freeze(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
    if (!freeze) return problem_from_errno("open for writing", file);
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return problem_from_errno("make a socket pair for", cgroup_);
    UniqueFd theirs(ends[0]);
    socket_.reset(ends[1]);
    // Not core/subprocess: it becomes no program, and must be there before the guest stands still, whatever
    // is installed.
    pid_ = ::fork();
    if (pid_ == 0) guard(theirs.get(), freeze.get(), static_cast<int>((limit + kGrace).count()));
    if (pid_ < 0) return problem_from_errno("fork a guard for", cgroup_);
    theirs.reset();
    // Until it has left our process group a kill of that group would take it along: nothing is frozen before.
    char word = 0;
    ssize_t got = 0;
    while ((got = ::recv(socket_.get(), &word, 1, 0)) < 0 && errno == EINTR) {
    }
    return got == 1 ? Result(Ok{})
                    : Result(Problem{ECHILD, "the process that thaws " + cgroup_ +
                                                 " should we be killed did not start"});
  }

  std::string cgroup_;
  bool before_;
  pid_t pid_ = -1;
  UniqueFd socket_;
};

class CgroupFreezer : public GuestFreezer {
 public:
  CgroupFreezer() : mount_(cgroup2_mount()) {
    if (mount_.empty()) throw Error("no cgroup hierarchy of version 2 is mounted: nothing can be frozen");
  }
  Result can_freeze(const Guest& guest) override {
    const auto found = cgroup_of(guest);
    return found ? Result(Ok{}) : Result(found.error());
  }
  Expected<std::unique_ptr<FrozenGuest>> freeze(const Guest& guest, milliseconds limit) override {
    const auto found = cgroup_of(guest);
    if (!found) return found.error();
    const std::string cgroup = mount_ + *found;
    auto frozen = std::make_unique<Frozen>(cgroup, freeze_was_asked(cgroup));
    if (auto done = frozen->begin(limit); !done) return done.error();
    return std::unique_ptr<FrozenGuest>(std::move(frozen));
  }

 private:
  std::string mount_;
};

}  // namespace

std::unique_ptr<GuestFreezer> make_cgroup_freezer() {
  return std::make_unique<CgroupFreezer>();
}

}  // namespace vs
