// Contexts of a stock kernel: a set of namespaces and an entry below /run/vservers/ctx.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "core/durable/durable_file.h"
#include "core/process_start.h"
#include "isolation/context/config_file.h"
#include "isolation/context/context.h"
#include "isolation/context/run_program.h"
#include "isolation/context/user_namespace.h"

namespace vs::isolation {
namespace {

namespace fs = std::filesystem;

uint64_t namespace_of(const std::string& process, const char* kind) {
  struct stat found {};
  return ::stat(fmt::format("/proc/{}/ns/{}", process, kind).c_str(), &found) == 0 ? found.st_ino : 0;
}

// Not core/subprocess: the child is born in its namespaces and its cgroup, which fork(2) cannot do, and runs
// our own code in there before any program.
pid_t clone_child(uint64_t flags, int cgroup, UniqueFd& pidfd) {
  int fd = -1;
  struct clone_args arguments {};
  arguments.flags = flags | CLONE_PIDFD | (cgroup >= 0 ? CLONE_INTO_CGROUP : 0);
  arguments.pidfd = reinterpret_cast<uint64_t>(&fd);
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = cgroup >= 0 ? static_cast<uint64_t>(cgroup) : 0;
  const auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
  if (pid > 0) pidfd.reset(fd);
  return pid;
}

// No exception leaves a child: it would run the parent's code.
[[noreturn]] void run_body(const std::function<int()>& body) {
  int status = 125;
  try {
    status = body();
  } catch (const std::exception& error) {
    ::dprintf(2, "error: %s\n", error.what());
  }
  ::_exit(status);
}

void write_id_map(const char* file, unsigned id) {
  const UniqueFd fd(::open(file, O_WRONLY | O_CLOEXEC));
  const std::string line = fmt::format("{} {} 1", id, id);
  if (!fd || ::write(fd.get(), line.data(), line.size()) < 0)
    throw Error(problem_from_errno("write", file).message);
}

class NamespaceContexts : public Contexts {
 public:
  explicit NamespaceContexts(const Places& places) : dir_(places.run + "/ctx") {}

  Child create(const CreateOptions& options, const std::function<int(unsigned)>& body,
               ContextInfo& created) override {
    UniqueFd lock = options.user ? UniqueFd() : locked();
    const bool registered = !options.user && is_host();
    if (!registered && (options.number != 0 || !options.name.empty()))
      throw Error("contexts with a number or a name are made by root on the host");
    created = {};
    created.number = !registered ? 0 : options.number != 0 ? options.number : next_free();
    created.name = options.name;
    created.facts = options.facts;
    if (registered && find(created.number))
      throw Error(fmt::format("context {} exists already", created.number));
    const uint32_t first_id = options.prepare ? options.prepare(created.number) : 0;
    if (first_id != 0) created.facts["USERNS"] = fmt::to_string(first_id);
    int pipe[2];
    if (::pipe2(pipe, O_CLOEXEC) != 0) throw Error(problem_from_errno("make", "a pipe").message);
    UniqueFd go_read(pipe[0]), go_write(pipe[1]);
    const uid_t uid = ::getuid();
    const gid_t gid = ::getgid();
    uint64_t flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
    if (options.network) flags |= CLONE_NEWNET;
    if (options.user || first_id != 0) flags |= CLONE_NEWUSER;
    Child child;
    child.pid = clone_child(flags, options.cgroup, child.pidfd);
    if (child.pid < 0)
      throw Error(
          problem_from_errno("make namespaces for", fmt::format("context {}", created.number)).message);
    if (child.pid == 0) {
      go_write.reset();
      lock.reset();  // else whoever is asked for one inside would wait for this process to end
      run_body([&] {
        unsigned number = created.number;
        if (::read(go_read.get(), &number, sizeof number) != sizeof number)
          return 125;  // the parent died: so nothing has begun
        go_read.reset();
        if (options.user) {
          const UniqueFd groups(::open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC));
          if (groups && ::write(groups.get(), "deny", 4) < 0) return 125;
          write_id_map("/proc/self/uid_map", uid);
          write_id_map("/proc/self/gid_map", gid);
        } else {
          if (first_id != 0) ok_or_throw(become_root_inside());
          // After it is in its cgroup: this becomes the root it sees.
          if (::unshare(CLONE_NEWCGROUP) != 0)
            throw Error(problem_from_errno("make", "a cgroup namespace").message);
        }
        return body(number);
      });
    }
    go_read.reset();
    created.init = child.pid;
    created.init_start = process_start(child.pid);
    created.pid_namespace = namespace_of(fmt::to_string(child.pid), "pid");
    if (first_id != 0) ok_or_throw(map_ids(child.pid, first_id));
    if (options.complete) options.complete(child);
    if (registered)
      write_entry(created);
    else
      created.number = number_of_namespace(created.pid_namespace);
    if (::write(go_write.get(), &created.number, sizeof created.number) != sizeof created.number)
      throw Error("the first process of the context died");
    return child;
  }

  Child enter(const ContextInfo& context, int cgroup, const std::function<int()>& body) override {
    const UniqueFd init(static_cast<int>(::syscall(SYS_pidfd_open, context.init, 0)));
    // The number may be another process's by now; after this look the descriptor cannot be.
    if (!init || process_start(context.init) != context.init_start)
      throw Error(fmt::format("context {} has ended", context.number));
    const UniqueFd own(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
    if (::setns(init.get(), CLONE_NEWPID) != 0)
      throw Error(problem_from_errno("enter the pid namespace of", fmt::format("context {}", context.number))
                      .message);
    Child child;
    child.pid = clone_child(0, cgroup, child.pidfd);
    const int failed = errno;
    if (child.pid == 0)
      run_body([&] {
        const bool own_users = has_own_user_namespace(context.init);
        if (::setns(init.get(), CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNET |
                                    (own_users ? CLONE_NEWUSER : 0)) != 0)
          throw Error(problem_from_errno("enter the namespaces of", fmt::format("context {}", context.number))
                          .message);
        if (own_users) ok_or_throw(become_root_inside());
        return body();
      });
    ::setns(own.get(), CLONE_NEWPID);  // later children of ours stay outside
    if (child.pid < 0)
      throw Error(problem_from(failed, "fork into", fmt::format("context {}", context.number)).message);
    return child;
  }

  // A process of a pid namespace of its own has no number for anybody outside, so no kill, no pidfd and no
  // ptrace reaches them; the host's /proc, which stays mounted, shows them all. It is read-only, so that
  // /proc/PID/mem is no way in; the body must drop SYS_ADMIN and SYS_PTRACE.
  Child spectate(const std::function<int()>& body) override {
    Child child;
    child.pid = clone_child(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS, -1, child.pidfd);
    if (child.pid < 0) throw Error(problem_from_errno("make namespaces for", "the spectator").message);
    if (child.pid == 0)
      run_body([&] {
        struct mount_attr attributes {};
        attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
        if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0 ||
            ::mount_setattr(AT_FDCWD, "/proc", 0, &attributes, sizeof attributes) != 0)
          throw Error(problem_from_errno("make read-only", "/proc").message);
        return body();
      });
    return child;
  }

  std::vector<ContextInfo> list() override {
    std::vector<ContextInfo> all;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(dir_, error)) {
      const std::string name = entry.path().filename();
      if (name.empty() || name.find_first_not_of("0123456789") != std::string::npos || name.size() > 5)
        continue;
      if (auto found = find(static_cast<unsigned>(std::stoul(name)))) all.push_back(std::move(*found));
    }
    std::sort(all.begin(), all.end(),
              [](const ContextInfo& a, const ContextInfo& b) { return a.number < b.number; });
    return all;
  }

  std::optional<ContextInfo> find(unsigned number) override {
    // Inside of a context the numbers of processes are others: what looks dead from there is not.
    if (!is_host()) return std::nullopt;
    const std::string file = entry_file(number);
    auto text = read_whole(file, 1 << 16);
    if (!text) return std::nullopt;
    ContextInfo info;
    info.number = number;
    try {
      for (const auto& line : parse_config(file, *text)) {
        if (line.key == "NAME")
          info.name = line.value;
        else if (line.key == "INIT")
          info.init = static_cast<pid_t>(std::stol(line.value));
        else if (line.key == "START")
          info.init_start = std::stoull(line.value);
        else if (line.key == "PIDNS")
          info.pid_namespace = std::stoull(line.value);
        else
          info.facts[line.key] = line.value;
      }
    } catch (const std::exception&) {  // torn by a crash: as good as none
    }
    if (info.init > 0 && info.init_start != 0 && process_start(info.init) == info.init_start) return info;
    if (::geteuid() == 0) forget(number);
    return std::nullopt;
  }

  std::optional<ContextInfo> find_named(const std::string& name) override {
    for (auto& info : list())
      if (info.name == name) return info;
    return std::nullopt;
  }

  std::optional<unsigned> of_process(pid_t pid) override { return of_process(pid, list()); }

  std::optional<unsigned> of_process(pid_t pid, const std::vector<ContextInfo>& living) override {
    const uint64_t space = namespace_of(fmt::to_string(pid), "pid");
    if (space == 0) return std::nullopt;
    if (space == namespace_of("self", "pid")) return kHost;
    for (const auto& info : living)
      if (info.pid_namespace == space) return info.number;
    // A namespace inside of a context belongs to it; the cgroup-free way to know is to go up.
    UniqueFd at(::open(fmt::format("/proc/{}/ns/pid", pid).c_str(), O_RDONLY | O_CLOEXEC));
    constexpr unsigned long kGetParent = 0xb702;  // NS_GET_PARENT
    for (int depth = 0; at && depth < 32; ++depth) {
      at.reset(::ioctl(at.get(), kGetParent));
      struct stat found {};
      if (!at || ::fstat(at.get(), &found) != 0) break;
      for (const auto& info : living)
        if (info.pid_namespace == found.st_ino) return info.number;
    }
    return number_of_namespace(space);
  }

  void forget(unsigned number) override { ::unlink(entry_file(number).c_str()); }

 private:
  // The pid namespace that used this register first since boot is the host's.
  bool is_host() const {
    const auto text = read_whole(dir_ + "/.lock", 64);
    return !text || text->empty() || *text == fmt::to_string(namespace_of("self", "pid"));
  }

  std::string entry_file(unsigned number) const { return fmt::format("{}/{}", dir_, number); }

  // Contexts of ordinary users are in no register that they could forge; 16384 numbers for display.
  static unsigned number_of_namespace(uint64_t space) {
    return kFirstDynamic + static_cast<unsigned>(space % (kLastNumber - kFirstDynamic + 1));
  }

  UniqueFd locked() {
    std::error_code error;
    fs::create_directories(dir_, error);
    fs::permissions(fs::path(dir_).parent_path(),
                    fs::perms::owner_all | fs::perms::group_exec | fs::perms::group_read |
                        fs::perms::others_exec | fs::perms::others_read,
                    error);
    UniqueFd fd(::open((dir_ + "/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd || ::flock(fd.get(), LOCK_EX) != 0)
      throw Error(problem_from_errno("lock", dir_ + "/.lock").message);
    struct stat found {};
    const std::string self = fmt::to_string(namespace_of("self", "pid"));
    if (::fstat(fd.get(), &found) == 0 && found.st_size == 0)
      ok_or_throw(write_all(fd.get(), self, dir_ + "/.lock"));
    return fd;
  }

  unsigned next_free() {
    for (unsigned number = kFirstDynamic; number <= kLastNumber; ++number)
      if (!find(number)) return number;
    throw Error("all context numbers are in use");
  }

  void write_entry(const ContextInfo& info) {
    std::string text = fmt::format("NAME='{}'\nINIT={}\nSTART={}\nPIDNS={}\n", info.name, info.init,
                                   info.init_start, info.pid_namespace);
    for (const auto& [key, value] : info.facts) text += fmt::format("{}='{}'\n", key, value);
    const std::string file = entry_file(info.number), fresh = file + ".new";
    std::ofstream(fresh) << text;  // on tmpfs: nothing to sync
    if (::rename(fresh.c_str(), file.c_str()) != 0) throw Error(problem_from_errno("write", file).message);
  }

  std::string dir_;
};

}  // namespace

std::unique_ptr<Contexts> make_contexts(const Places& places) {
  return std::make_unique<NamespaceContexts>(places);
}

int wait_for(const Child& child) {
  return wait_for_child(child.pid);
}

}  // namespace vs::isolation
