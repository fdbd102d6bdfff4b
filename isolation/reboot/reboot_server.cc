#include "isolation/reboot/reboot_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <optional>

#include "core/durable/host_lock.h"
#include "core/escape.h"
#include "core/subprocess.h"
#include "isolation/context/reboot_place.h"
#include "isolation/reboot/reboot_request.h"
#include "isolation/vserver/lifecycle.h"
#include "isolation/vserver/vserver_config.h"

namespace vs::isolation {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kBetweenRestarts = 5s;
// A child of ours is reaped some moments after it was seen to end; nobody else's ever is.
constexpr auto kStatusPatience = 200ms;
constexpr size_t kWorkers = 4;
constexpr unsigned kComplaints = 10;  // of one vserver since it started; its requests go on being looked at

enum class Action { none, restart, stop, start_again, clean };

struct Guest {
  uint64_t dir = 0;  // inode: another one is another start of it
  std::optional<RebootSocket> socket;
  UniqueFd init;
  pid_t init_pid = 0;
  bool ended = false;
  Clock::time_point ended_at{};
  std::optional<int> status;
  unsigned complaints = 0;
};

// What is to be done for a vserver, or under way.
struct Job {
  Action action = Action::none;
  Clock::time_point not_before{};
  pid_t worker = 0;
};

class RebootServer {
 public:
  RebootServer(Runtime& runtime, const RebootServerOptions& options) : runtime_(runtime), options_(options) {}
  void run();

 private:
  bool serves(const std::string& name) const {
    return options_.names.empty() ||
           std::find(options_.names.begin(), options_.names.end(), name) != options_.names.end();
  }
  void look_around();
  void watch_init(const std::string& name, Guest& guest);
  void hear(const std::string& name, Guest& guest, Clock::time_point now);
  void see_end(const std::string& name, Guest& guest, Clock::time_point now);
  void conclude(const std::string& name, const Guest& guest, std::optional<int> status);
  void want(const std::string& name, Action action);
  void begin_jobs(Clock::time_point now);
  void start_vservers();
  void reap();
  UniqueFd block_signals();       // a descriptor that they are read from
  UniqueFd watch_places() const;  // a descriptor that tells of vservers that come and go
  Clock::time_point wait_for_guests(std::vector<pollfd>& polled, Clock::time_point now) const;
  void hear_all(Clock::time_point now);
  bool still_there(const std::string& name, const Guest& guest) const;

  Runtime& runtime_;
  const RebootServerOptions& options_;
  std::map<std::string, Guest> guests_;
  std::map<std::string, Job> jobs_;
  pid_t starter_ = 0;
  sigset_t before_{};
};

uint64_t inode_of(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode) ? found.st_ino : 0;
}

bool RebootServer::still_there(const std::string& name, const Guest& guest) const {
  return inode_of(reboot_dir(runtime_.places, name)) == guest.dir;
}

// The directories are looked at as a whole at each change: simpler than each event, and none can be lost.
void RebootServer::look_around() {
  for (auto it = guests_.begin(); it != guests_.end();)
    it = still_there(it->first, it->second) ? std::next(it) : guests_.erase(it);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(reboot_root(runtime_.places), error)) {
    const std::string name = entry.path().filename();
    if (name[0] == '.' || !serves(name)) continue;
    auto& guest = guests_[name];
    if (!guest.socket) {
      const UniqueFd dir(::open(entry.path().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      struct stat found {};
      if (!dir || ::fstat(dir.get(), &found) != 0) {
        guests_.erase(name);
        continue;
      }
      guest.dir = found.st_ino;
      auto made = RebootSocket::make(dir.get(), entry.path() / kRebootSocket);
      if (made)
        guest.socket = std::move(*made);
      else if (still_there(name, guest))
        runtime_.log.error(made.error().message);
    }
    if (!guest.init) watch_init(name, guest);
  }
}

void RebootServer::watch_init(const std::string& name, Guest& guest) {
  const auto found = runtime_.contexts->find_named(name);
  if (!found) return;  // not yet: its entry wakes us
  UniqueFd init(static_cast<int>(::syscall(SYS_pidfd_open, found->init, 0)));
  // Only now the number is known to be the same process still.
  const auto again = runtime_.contexts->find(found->number);
  if (!init || !again || again->init_start != found->init_start) return;
  guest.init = std::move(init);
  guest.init_pid = found->init;
}

void RebootServer::hear(const std::string& name, Guest& guest, Clock::time_point now) {
  const RebootWish wish = guest.socket->look(now);
  if (wish == RebootWish::restart || wish == RebootWish::halt) {
    runtime_.log.info(
        fmt::format("vserver {} asks to be {}", name, wish == RebootWish::restart ? "restarted" : "stopped"));
    want(name, wish == RebootWish::restart ? Action::restart : Action::stop);
  } else if (wish == RebootWish::invalid && guest.complaints++ < kComplaints) {
    runtime_.log.error(fmt::format("invalid request from vserver {}: '{}'{}", name,
                                   escaped(guest.socket->text()),
                                   guest.complaints == kComplaints ? "; no more of it are told" : ""));
  }
}

void RebootServer::see_end(const std::string& name, Guest& guest, Clock::time_point now) {
  if (!guest.ended) {
    guest.ended = true;
    guest.ended_at = now;
  }
  if (!guest.status && now < guest.ended_at + kStatusPatience) return;
  conclude(name, guest, guest.status);
  guests_.erase(name);
}

void RebootServer::conclude(const std::string& name, const Guest& guest, std::optional<int> status) {
  if (!still_there(name, guest)) return;  // the host stops it
  const auto job = jobs_.find(name);
  if (job != jobs_.end() && job->second.worker != 0) return;  // we do
  const bool killed = status && WIFSIGNALED(*status);
  if (killed && WTERMSIG(*status) == SIGHUP) {
    runtime_.log.info(fmt::format("vserver {} has rebooted: it is started again", name));
    want(name, Action::start_again);
  } else {
    runtime_.log.info(fmt::format("vserver {} has {}", name,
                                  killed && WTERMSIG(*status) == SIGINT ? "halted"
                                  : status                              ? "ended by itself"
                                           : "ended; whether to reboot is known of vservers started below "
                                             "rebootmgr only: it stays stopped"));
    want(name, Action::clean);
  }
}

// The first wish counts until it is done.
void RebootServer::want(const std::string& name, Action action) {
  auto& job = jobs_[name];
  if (job.action == Action::none && job.worker == 0) job.action = action;
}

int work(Runtime& runtime, const std::string& name, Action action) {
  try {
    if (action == Action::restart)
      read_vserver_config(runtime.places, name);  // a file with a mistake must not end a vserver that runs
    if (action == Action::restart || action == Action::stop) stop_vserver(runtime, name);
    if (action == Action::restart || action == Action::start_again) start_vserver(runtime, name);
    if (action == Action::clean) running_context(runtime, name);
    return 0;
  } catch (const std::exception& error) {
    runtime.log.error(fmt::format("vserver {}: {}", name, error.what()));
    return 1;
  }
}

void RebootServer::begin_jobs(Clock::time_point now) {
  auto working = static_cast<size_t>(
      std::count_if(jobs_.begin(), jobs_.end(), [](const auto& one) { return one.second.worker != 0; }));
  for (auto& [name, job] : jobs_) {
    if (job.action == Action::none || job.worker != 0 || now < job.not_before || working == kWorkers)
      continue;
    const Action action = std::exchange(job.action, Action::none);
    // Not core/subprocess: the child goes on with our own code.
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::sigprocmask(SIG_SETMASK, &before_, nullptr);
      // The lock above all: a start that goes on when we are told to end would keep the next rebootmgr out.
      ::syscall(SYS_close_range, 3, ~0U, 0);
      ::_exit(work(runtime_, name, action));
    }
    if (pid < 0) {
      runtime_.log.error(problem_from_errno("start a process for vserver", name).message);
      continue;
    }
    job.worker = pid;
    job.not_before = now + kBetweenRestarts;
    ++working;
  }
}

// systemd's protocol for a unit of Type=notify: what comes after it finds the vservers started.
void tell_ready() {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path == nullptr || std::strlen(path) >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, std::strlen(path));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  if (address.sun_path[0] == '@') address.sun_path[0] = 0;
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  constexpr char kReady[] = "READY=1";
  static_cast<void>(::sendto(fd.get(), kReady, sizeof kReady - 1, MSG_NOSIGNAL,
                             reinterpret_cast<const sockaddr*>(&address), size) > 0);
}

void RebootServer::start_vservers() {
  auto child = Subprocess::start({.arguments = {"vservers", "start"}});
  if (child) {
    starter_ = child->release();  // reap() waits for it
    return;
  }
  runtime_.log.error(child.error().message);
  tell_ready();
}

void RebootServer::reap() {
  for (int status = 0;;) {
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    if (pid == starter_) tell_ready();
    for (auto& [name, job] : jobs_)
      if (job.worker == pid) job.worker = 0;
    // A guest's first process whose starter has ended is ours.
    for (auto& [name, guest] : guests_)
      if (guest.init_pid == pid && guest.init) guest.status = status;
  }
}

int milliseconds_until(Clock::time_point when, Clock::time_point now) {
  return static_cast<int>(std::clamp<long>(
      std::chrono::duration_cast<std::chrono::milliseconds>(when - now).count() + 1, 0, 60'000));
}

UniqueFd RebootServer::block_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) ::sigaddset(&signals, signal);
  ::sigprocmask(SIG_BLOCK, &signals, &before_);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  UniqueFd arrived(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!arrived) throw Error(problem_from_errno("wait for", "signals").message);
  return arrived;
}

UniqueFd RebootServer::watch_places() const {
  UniqueFd changes(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!changes ||
      ::inotify_add_watch(changes.get(), reboot_root(runtime_.places).c_str(),
                          IN_CREATE | IN_DELETE | IN_ONLYDIR) < 0 ||
      ::inotify_add_watch(changes.get(), (runtime_.places.run + "/ctx").c_str(), IN_MOVED_TO | IN_ONLYDIR) <
          0)
    throw Error(problem_from_errno("watch", reboot_root(runtime_.places)).message);
  return changes;
}

// Adds what the guests may be heard by; until when to wait.
Clock::time_point RebootServer::wait_for_guests(std::vector<pollfd>& polled, Clock::time_point now) const {
  auto wake = now + 60s;
  for (const auto& [name, job] : jobs_)
    if (job.action != Action::none && job.worker == 0 && job.not_before > now)
      wake = std::min(wake, job.not_before);
  for (const auto& [name, guest] : guests_) {
    if (guest.socket) {
      const int waits_for = guest.socket->waits_for(now);
      if (waits_for >= 0) polled.push_back({waits_for, POLLIN, 0});
      if (guest.socket->wake_at() > now) wake = std::min(wake, guest.socket->wake_at());
    }
    // Readable when it has ended, hung up when its status can be asked: from then on a look now and then
    // does.
    if (guest.init && !guest.ended) polled.push_back({guest.init.get(), POLLIN, 0});
    if (guest.ended) wake = std::min(wake, now + 10ms);
  }
  return wake;
}

void RebootServer::hear_all(Clock::time_point now) {
  std::vector<std::string> names;
  for (const auto& [name, guest] : guests_) names.push_back(name);
  for (const auto& name : names) {
    auto& guest = guests_[name];
    pollfd ended{guest.init.get(), POLLIN, 0};
    if (guest.socket) hear(name, guest, now);
    if (guest.init && (guest.ended || ::poll(&ended, 1, 0) > 0)) see_end(name, guest, now);
  }
}

void RebootServer::run() {
  std::error_code error;
  fs::create_directories(reboot_root(runtime_.places), error);
  fs::create_directories(runtime_.places.run + "/ctx", error);
  const UniqueFd root(::open(reboot_root(runtime_.places).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) throw Error(problem_from_errno("open", reboot_root(runtime_.places)).message);
  const HostLock lock(root.get(), ".lock", reboot_root(runtime_.places) + "/.lock");
  const UniqueFd arrived = block_signals(), changes = watch_places();
  if (options_.start)
    start_vservers();
  else
    tell_ready();
  for (bool going = true; going;) {
    look_around();
    const auto now = Clock::now();
    begin_jobs(now);
    std::vector<pollfd> polled = {{arrived.get(), POLLIN, 0}, {changes.get(), POLLIN, 0}};
    const auto wake = wait_for_guests(polled, now);
    if (::poll(polled.data(), polled.size(), milliseconds_until(wake, now)) < 0 && errno != EINTR)
      throw Error(problem_from_errno("wait for", "requests").message);
    signalfd_siginfo signal{};
    while (::read(arrived.get(), &signal, sizeof signal) == sizeof signal)
      if (signal.ssi_signo != SIGCHLD) going = false;
    reap();
    char events[4096];
    while (::read(changes.get(), events, sizeof events) > 0) {
    }
    hear_all(Clock::now());
  }
  // Whoever asks now is told that nobody listens.
  for (const auto& [name, guest] : guests_)
    if (still_there(name, guest)) ::unlink((reboot_dir(runtime_.places, name) + "/" + kRebootSocket).c_str());
}

}  // namespace

void serve_reboots(Runtime& runtime, const RebootServerOptions& options) {
  RebootServer(runtime, options).run();
}

}  // namespace vs::isolation
