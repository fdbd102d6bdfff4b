#include "unify/packages/sandbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "core/unique_fd.h"

// The sanitizers map terabytes of shadow and would fail under a limit on address space.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VS_SHADOW_MEMORY 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define VS_SHADOW_MEMORY 1
#endif
#endif

namespace vs::unify {
namespace {

constexpr uid_t kNobody = 65534;
constexpr int kPipe = 3;  // the descriptor of the pipe in the child; all above are closed

// What the child does first. A step that fails is told by the exit status, so the order here is the contract
// between enter() and explain().
enum class Step : int {
  descriptors,
  signals,
  memory,
  root,
  groups,
  bounding,
  ids,
  capabilities,
  limits,
  privileges,
  seccomp,
  work
};
constexpr std::array kStepNames = {
    "close descriptors", "reset signals",         "give up shared memory",   "change the root",
    "drop groups",       "drop capabilities",     "become nobody",           "clear capabilities",
    "set limits",        "forbid new privileges", "load the seccomp filter", "do its work"};
static_assert(kStepNames.size() == static_cast<size_t>(Step::work) + 1);
constexpr int kFirstStatus = 100;
[[noreturn]] void fail(Step step) {
  ::_exit(kFirstStatus + static_cast<int>(step));
}

// --- The filter. Made before the fork, loaded after it.

// What librpm, sqlite and glibc need to read files, compute and write to the pipe. Everything else gives
// EPERM, so that a library that merely tries (isatty, chown of its own journal) goes on.
// clang-format off
constexpr int kAllowed[] = {
    SCMP_SYS(read), SCMP_SYS(pread64), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(pwrite64),
    SCMP_SYS(writev), SCMP_SYS(close), SCMP_SYS(lseek), SCMP_SYS(fstat), SCMP_SYS(newfstatat),
    SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(statx), SCMP_SYS(access), SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2), SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(fcntl), SCMP_SYS(ftruncate),
    SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(flock), SCMP_SYS(fadvise64), SCMP_SYS(readlink),
    SCMP_SYS(readlinkat), SCMP_SYS(getcwd), SCMP_SYS(getdents64), SCMP_SYS(munmap), SCMP_SYS(mremap),
    SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getppid),
    SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(umask),
    SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrandom), SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(futex),
    SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
    SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group),
};
// clang-format on

// Nothing we run tries these, so whoever does is not our code any more.
// clang-format off
constexpr int kDeadly[] = {
    SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(connect),
    SCMP_SYS(bind), SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev),
    SCMP_SYS(kill), SCMP_SYS(tkill), SCMP_SYS(pidfd_open), SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(pidfd_getfd), SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(move_mount), SCMP_SYS(open_tree),
    SCMP_SYS(fsopen), SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(unshare), SCMP_SYS(setns),
    SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setresuid),
    SCMP_SYS(setresgid), SCMP_SYS(setgroups), SCMP_SYS(capset), SCMP_SYS(bpf), SCMP_SYS(perf_event_open),
    SCMP_SYS(io_uring_setup), SCMP_SYS(userfaultfd), SCMP_SYS(keyctl), SCMP_SYS(add_key),
    SCMP_SYS(request_key), SCMP_SYS(init_module), SCMP_SYS(finit_module), SCMP_SYS(kexec_load),
    SCMP_SYS(reboot), SCMP_SYS(mknod), SCMP_SYS(mknodat), SCMP_SYS(open_by_handle_at),
    SCMP_SYS(name_to_handle_at),
};
// clang-format on

struct FilterRelease {
  void operator()(void* filter) const { ::seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, FilterRelease>;

Filter make_filter() {
  Filter filter(::seccomp_init(SCMP_ACT_ERRNO(EPERM)));
  bool ok = filter != nullptr;
  for (const int call : kAllowed) ok = ok && ::seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 0) == 0;
  for (const int call : kDeadly)
    ok = ok && ::seccomp_rule_add(filter.get(), SCMP_ACT_KILL_PROCESS, call, 0) == 0;
  // Memory that can be executed is what an exploit wants next.
  const scmp_arg_cmp not_executable{2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0};
  for (const int call : {SCMP_SYS(mmap), SCMP_SYS(mprotect)})
    ok = ok && ::seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, call, 1, &not_executable) == 0;
  // getrlimit of oneself only: the new limit must be null.
  const scmp_arg_cmp reads_own[] = {{0, SCMP_CMP_EQ, 0, 0}, {2, SCMP_CMP_EQ, 0, 0}};
  ok = ok && ::seccomp_rule_add_array(filter.get(), SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, reads_own) == 0;
  if (!ok) throw Error("make a seccomp filter: libseccomp refuses a rule");
  return filter;
}

// --- The child.

void keep_only_the_pipe(int pipe) {
  // The pipe may itself be 0, 1 or 2 where the parent had those closed: out of the way first.
  const int safe = ::fcntl(pipe, F_DUPFD_CLOEXEC, 10);
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0 || safe < 0) fail(Step::descriptors);
  for (const int standard : {0, 1, 2})
    if (null != standard && ::dup2(null, standard) < 0) fail(Step::descriptors);
  if (::dup2(safe, kPipe) < 0) fail(Step::descriptors);
  if (::syscall(SYS_close_range, kPipe + 1, ~0U, 0) == 0) return;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) fail(Step::descriptors);
  for (int fd = kPipe + 1; fd < static_cast<int>(std::min<rlim_t>(limit.rlim_max, 1 << 20)); ++fd)
    ::close(fd);
}

void reset_signals() {
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  ::signal(SIGXFSZ, SIG_IGN);  // a file that would grow too large is an error to sqlite, not the end
  sigset_t none;
  ::sigemptyset(&none);
  if (::sigprocmask(SIG_SETMASK, &none, nullptr) != 0) fail(Step::signals);
}

// True when `directory` became the root.
bool change_root(const char* directory, bool root) {
  // Who is not root can do this in a user namespace, where the system allows that.
  if (!root && ::unshare(CLONE_NEWUSER) != 0) return false;
  const bool changed = ::chdir(directory) == 0 && ::chroot(".") == 0 && ::chdir("/") == 0;
  if (!changed && root) fail(Step::root);
  return changed;
}

void drop_ids() {
  // Raw calls: the wrappers of glibc would signal threads that this copy of the process does not have.
  if (::syscall(SYS_setgroups, 0, nullptr) != 0) fail(Step::groups);
  for (int cap = 0; cap_valid(cap); ++cap)
    if (::prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 && ::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
      fail(Step::bounding);
  if (::syscall(SYS_setresgid, kNobody, kNobody, kNobody) != 0) fail(Step::ids);
  if (::syscall(SYS_setresuid, kNobody, kNobody, kNobody) != 0) fail(Step::ids);
}

void drop_capabilities() {
  cap_t none = ::cap_init();
  if (none == nullptr || ::cap_set_proc(none) != 0) fail(Step::capabilities);
  ::cap_free(none);
}

// Memory the parent shares with files (an index that is mapped, a lock file) is as writable from here as from
// there, whatever its protection says now. The one that glibc maps itself, read-only from a file of root's,
// stays.
void drop_shared_memory() {
  std::string maps;
  const UniqueFd fd(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  char piece[16384];
  ssize_t got = 0;
  while (fd && (got = ::read(fd.get(), piece, sizeof piece)) > 0)
    maps.append(piece, static_cast<size_t>(got));
  if (maps.empty() || got < 0) fail(Step::memory);
  for (size_t at = 0; at < maps.size();) {
    const size_t end = std::min(maps.find('\n', at), maps.size());
    const std::string line = maps.substr(at, end - at);
    at = end + 1;
    unsigned long first = 0, last = 0;
    char flags[5] = {};
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &first, &last, flags) != 3 || flags[3] != 's') continue;
    if (line.ends_with("/gconv-modules.cache")) continue;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel gives the place as a number
    if (::munmap(reinterpret_cast<void*>(first), last - first) != 0) fail(Step::memory);
  }
}

void limit(int resource, rlim_t value) {
  const rlimit both{value, value};
  if (::setrlimit(static_cast<__rlimit_resource_t>(resource), &both) != 0) fail(Step::limits);
}

uint64_t mapped_bytes() {
  char text[64] = {};
  const UniqueFd fd(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC));
  if (!fd || ::read(fd.get(), text, sizeof text - 1) <= 0) return 0;
  return std::strtoull(text, nullptr, 10) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

void set_limits(const SandboxLimits& limits, uint64_t mapped) {
#ifndef VS_SHADOW_MEMORY
  limit(RLIMIT_AS, mapped + limits.memory);
#else
  (void)mapped;
#endif
  limit(RLIMIT_CPU, limits.seconds);
  limit(RLIMIT_FSIZE, limits.file_size);
  limit(RLIMIT_NOFILE, 64);
  limit(RLIMIT_NPROC, 0);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_MEMLOCK, 0);
}

void forbid_privileges(pid_t parent) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail(Step::privileges);
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
    fail(Step::privileges);  // others who are nobody cannot trace it
  // After the change of ids, which clears it. A parent that died before this line is seen in the next one.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) fail(Step::privileges);
  if (::getppid() != parent) fail(Step::privileges);
}

struct ChildSetup {
  const char* directory;
  const SandboxLimits& limits;
  void* filter;
  int pipe;
  pid_t parent;
};

// Returns the directory's name inside.
std::string enter(const ChildSetup& setup) {
  const bool root = ::geteuid() == 0;
  keep_only_the_pipe(setup.pipe);
  reset_signals();
  drop_shared_memory();
  const uint64_t mapped = mapped_bytes();
  const bool rooted = change_root(setup.directory, root);
  if (root) drop_ids();
  drop_capabilities();
  set_limits(setup.limits, mapped);
  forbid_privileges(setup.parent);
  if (::seccomp_load(setup.filter) != 0) fail(Step::seccomp);
  return rooted ? "/" : setup.directory;
}

[[noreturn]] void run_child(const ChildSetup& setup,
                            const std::function<void(const std::string&, int)>& work) {
  try {
    const std::string directory = enter(setup);
    work(directory, kPipe);
  } catch (...) {
    fail(Step::work);
  }
  ::_exit(0);  // no destructors, no atexit: those are the parent's
}

// --- The parent.

std::string describe_status(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  const int step = WEXITSTATUS(status) - kFirstStatus;
  if (step >= 0 && step < static_cast<int>(kStepNames.size()))
    return fmt::format("failed to {}", kStepNames[static_cast<size_t>(step)]);
  return fmt::format("exited with status {}", WEXITSTATUS(status));
}

// Empty at the end of the output; else why it was not waited for.
std::string collect(int pipe, const SandboxLimits& limits, std::string& output) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(limits.seconds);
  constexpr size_t kPiece = 256 * 1024;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return fmt::format("stopped after {} s", limits.seconds);
    pollfd ready{pipe, POLLIN, 0};
    if (::poll(&ready, 1, static_cast<int>(left)) <= 0) continue;
    const size_t filled = output.size();
    output.resize(filled + kPiece);
    const ssize_t got = ::read(pipe, output.data() + filled, kPiece);
    const int error = errno;
    output.resize(filled + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) return {};
    if (got < 0 && error != EINTR && error != EAGAIN)
      return fmt::format("reading its answer: {}", std::strerror(error));
    if (output.size() > limits.output) return fmt::format("stopped after {} bytes of answer", limits.output);
  }
}

int reap(pid_t child) {
  // It closed its end or is to be stopped. One that closes the pipe and lives on is stopped here as well; one
  // that is in the middle of its exit keeps the status it chose.
  ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return 0;  // SIGCHLD ignored: the kernel reaped it; the output then speaks for itself
  return status;
}

}  // namespace

SandboxOutcome run_in_sandbox(const std::string& directory, const SandboxLimits& limits,
                              const std::function<void(const std::string& directory, int out)>& work) {
  const Filter filter = make_filter();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    throw Error(problem_from_errno("make a pipe for the child reading", directory).message);
  UniqueFd reading(ends[0]), writing(ends[1]);
  const ChildSetup setup{directory.c_str(), limits, filter.get(), writing.get(), ::getpid()};
  // Not core/subprocess: the child runs our own reader on what is in memory already, and its filter allows no
  // exec at all.
  const pid_t child = ::fork();
  if (child < 0) throw Error(problem_from_errno("start the child reading", directory).message);
  if (child == 0) run_child(setup, work);
  writing.reset();

  SandboxOutcome outcome;
  const std::string stopped = collect(reading.get(), limits, outcome.output);
  reading.reset();
  const int status = reap(child);
  outcome.finished = stopped.empty() && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (!outcome.finished) outcome.how = stopped.empty() ? describe_status(status) : stopped;
  return outcome;
}

}  // namespace vs::unify
