#include "core/subprocess.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace vs {
namespace {

// How often a Cancel, which wakes nobody, is looked at.
constexpr int kLookAtCancelMs = 50;
// A pipe holds 1 MiB at most, unless somebody with more rights made it larger; a piece is up to 16 KiB.
constexpr int kPiecesAfterEnd = 2 * 64;

// Never 0, 1 or 2, not even where ours are closed: those numbers are given out in the child.
Expected<UniqueFd> above_standard(int fd, const char* what) {
  const UniqueFd given(fd);
  UniqueFd moved(given ? ::fcntl(given.get(), F_DUPFD_CLOEXEC, 3) : -1);
  if (!moved) return problem_from_errno("open", what);
  return moved;
}

struct Pipe {
  UniqueFd read, write;
};

Expected<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return problem_from_errno("make", "a pipe");
  UniqueFd second(ends[1]);
  auto read = above_standard(ends[0], "a pipe");
  if (!read) return read.error();
  auto write = above_standard(second.release(), "a pipe");
  if (!write) return write.error();
  return Pipe{std::move(*read), std::move(*write)};
}

// All that the child needs, made before the fork: between fork and exec it may not allocate memory, since
// another thread may have held the allocator's lock.
struct Prepared {
  std::vector<char*> arguments, environment;
  bool own_environment = false;
  std::array<UniqueFd, 3> opened;              // the child's ends of pipes
  std::array<UniqueFd, 3> ours;                // the other ends
  std::array<int, 3> standard = {-1, -1, -1};  // what the child makes its 0, 1 and 2; -1: leave it
  UniqueFd null;
};

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> all;
  for (const auto& word : words) all.push_back(const_cast<char*>(word.c_str()));
  all.push_back(nullptr);
  return all;
}

// Opened where it is needed only: a guest's own programs may have to start without one.
Result prepare_null(Prepared& prepared, size_t at) {
  if (!prepared.null) {
    auto null = above_standard(::open("/dev/null", O_RDWR | O_CLOEXEC), "/dev/null");
    if (!null) return null.error();
    prepared.null = std::move(*null);
  }
  prepared.standard[at] = prepared.null.get();
  return Ok{};
}

Result prepare_stream(Prepared& prepared, const Stream& stream, int number) {
  const auto at = static_cast<size_t>(number);
  switch (stream.kind) {
    case Stream::Kind::inherit:
      return ::fcntl(number, F_GETFD) < 0 ? prepare_null(prepared, at) : Ok{};
    case Stream::Kind::null:
      return prepare_null(prepared, at);
    case Stream::Kind::file: {
      // A copy, so that the caller's 1 can become the child's 2 and its 2 the child's 1.
      auto copy = above_standard(::fcntl(stream.fd, F_DUPFD_CLOEXEC, 3), "a program's file");
      if (!copy) return copy.error();
      prepared.opened[at] = std::move(*copy);
      break;
    }
    case Stream::Kind::capture:
    case Stream::Kind::pipe: {
      auto pipe = make_pipe();
      if (!pipe) return pipe.error();
      prepared.opened[at] = std::move(number == 0 ? pipe->read : pipe->write);
      prepared.ours[at] = std::move(number == 0 ? pipe->write : pipe->read);
    }
  }
  prepared.standard[at] = prepared.opened[at].get();
  return Ok{};
}

Result prepare(Prepared& prepared, const Program& program) {
  prepared.arguments = pointers(program.arguments);
  prepared.own_environment = program.environment.has_value();
  if (program.environment) prepared.environment = pointers(*program.environment);
  const Stream* const streams[] = {&program.in, &program.out, &program.err};
  for (int number = 0; number < 3; ++number)
    if (auto done = prepare_stream(prepared, *streams[number], number); !done) return done;
  return Ok{};
}

bool has_own_group(const Program& program) {
  return program.own_group || program.deadline || program.cancel != nullptr;
}

// In the child, up to exec. Returns only with the errno of what failed.
int become_program(const Program& program, const Prepared& prepared) {
  if (has_own_group(program) && ::setpgid(0, 0) != 0) return errno;
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  for (int number = 0; number < 3; ++number) {
    const int from = prepared.standard[static_cast<size_t>(number)];
    if (from >= 0 && ::dup2(from, number) < 0) return errno;
  }
  if (::syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) return errno;
  for (const int fd : program.keep)
    if (::fcntl(fd, F_SETFD, 0) != 0) return errno;
  if (program.directory >= 0 && ::fchdir(program.directory) != 0) return errno;
  if (program.before_exec)
    if (const int failed = program.before_exec(); failed != 0) return failed;
  ::execvpe(prepared.arguments[0], prepared.arguments.data(),
            prepared.own_environment ? prepared.environment.data() : environ);
  return errno;
}

// What exec answered: 0 when it succeeded, since it closed the pipe.
int read_errno(int fd) {
  int failed = 0;
  ssize_t got = 0;
  while ((got = ::read(fd, &failed, sizeof failed)) < 0 && errno == EINTR) {
  }
  return got == sizeof failed ? failed : 0;
}

Expected<ExitStatus> wait_for_end(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return problem_from_errno("wait for", "process " + std::to_string(pid));
  return ExitStatus(status);
}

}  // namespace

// --- ExitStatus -------------------------------------------------------------------------------------------

int ExitStatus::code() const {
  return WIFEXITED(wait_status_) ? WEXITSTATUS(wait_status_) : -1;
}
int ExitStatus::signal() const {
  return WIFSIGNALED(wait_status_) ? WTERMSIG(wait_status_) : 0;
}
int ExitStatus::shell() const {
  return signal() != 0 ? 128 + signal() : code();
}
std::string ExitStatus::words() const {
  if (signal() == 0) return "ended with status " + std::to_string(code());
  return "was killed by signal " + std::to_string(signal()) + " (" + ::strsignal(signal()) + ")";
}

// --- Subprocess -------------------------------------------------------------------------------------------

Subprocess::Subprocess(pid_t pid, bool own_group)
    : pid_(pid), pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))), own_group_(own_group) {}

Subprocess::Subprocess(Subprocess&& other) noexcept
    : in(std::move(other.in)),
      out(std::move(other.out)),
      err(std::move(other.err)),
      pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      own_group_(other.own_group_) {}

Subprocess::~Subprocess() {
  if (pid_ <= 0) return;
  signal(SIGKILL);
  static_cast<void>(wait());
}

Expected<Subprocess> Subprocess::start(const Program& program) {
  if (program.arguments.empty()) return problem_from(EINVAL, "run", "a program without a name");
  const std::string& name = program.arguments[0];
  Prepared prepared;
  if (auto done = prepare(prepared, program); !done) return done.error();
  auto report = make_pipe();
  if (!report) return report.error();
  const pid_t pid = ::fork();
  if (pid < 0) return problem_from_errno("fork for", name);
  if (pid == 0) {
    const int failed = become_program(program, prepared);
    static_cast<void>(::write(report->write.get(), &failed, sizeof failed) > 0);
    ::_exit(127);
  }
  report->write.reset();
  if (const int failed = read_errno(report->read.get()); failed != 0) {
    static_cast<void>(wait_for_end(pid));
    return problem_from(failed, "run", name);
  }
  Subprocess child(pid, has_own_group(program));
  if (!child.pidfd_) return problem_from_errno("watch", name);
  child.in = std::move(prepared.ours[0]);
  child.out = std::move(prepared.ours[1]);
  child.err = std::move(prepared.ours[2]);
  return child;
}

void Subprocess::signal(int number) const {
  ::kill(own_group_ ? -pid_ : pid_, number);
}

Expected<ExitStatus> Subprocess::wait() {
  return wait_for_end(release());
}

pid_t Subprocess::release() {
  return std::exchange(pid_, -1);
}

// --- run_to_end -------------------------------------------------------------------------------------------

namespace {

struct Capture {
  UniqueFd fd;
  size_t limit;
  std::string* text;
};

// One piece of what the program wrote; closes the pipe at its end.
void take_output(Capture& capture, bool& cut) {
  char buffer[16384];
  const ssize_t got = ::read(capture.fd.get(), buffer, sizeof buffer);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (got <= 0) return capture.fd.reset();
  const size_t room = capture.limit - capture.text->size(), size = static_cast<size_t>(got);
  capture.text->append(buffer, std::min(room, size));
  cut = cut || size > room;
}

// Milliseconds until something other than the program has to be looked at; -1: never.
int patience(const Program& program, std::chrono::steady_clock::time_point begun) {
  int wait = program.cancel != nullptr ? kLookAtCancelMs : -1;
  if (program.deadline) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(begun + *program.deadline -
                                                                            std::chrono::steady_clock::now());
    const int rest = static_cast<int>(std::clamp<long>(left.count() + 1, 0, 60'000));
    wait = wait < 0 ? rest : std::min(wait, rest);
  }
  return wait;
}

void kill_if_due(const Program& program, std::chrono::steady_clock::time_point begun, Subprocess& child,
                 ProgramResult& result) {
  if (result.out_of_time || result.interrupted) return;
  result.out_of_time = program.deadline && std::chrono::steady_clock::now() >= begun + *program.deadline;
  result.interrupted = program.cancel != nullptr && program.cancel->stop();
  if (result.out_of_time || result.interrupted) child.signal(SIGKILL);
}

// Until the program has ended and all that it wrote before is read.
void follow(const Program& program, Subprocess& child, ProgramResult& result) {
  const auto begun = std::chrono::steady_clock::now();
  Capture captures[] = {{program.out.kind == Stream::Kind::capture ? std::move(child.out) : UniqueFd(),
                         program.out.limit, &result.out},
                        {program.err.kind == Stream::Kind::capture ? std::move(child.err) : UniqueFd(),
                         program.err.limit, &result.err}};
  bool ended = false;
  // What it left in the background may write for ever.
  for (int pieces_after_end = kPiecesAfterEnd; pieces_after_end > 0; pieces_after_end -= ended ? 1 : 0) {
    pollfd ready[] = {{captures[0].fd.get(), POLLIN, 0},
                      {captures[1].fd.get(), POLLIN, 0},
                      {ended ? -1 : child.pidfd(), POLLIN, 0}};
    const int count = ::poll(ready, 3, ended ? 0 : patience(program, begun));
    if (count == 0 && ended) return;
    for (size_t i = 0; i < 2; ++i)
      if (count > 0 && ready[i].revents != 0) take_output(captures[i], result.cut);
    if (count > 0 && ready[2].revents != 0) ended = true;
    if (ended && !captures[0].fd && !captures[1].fd) return;
    if (!ended) kill_if_due(program, begun, child, result);
  }
}

}  // namespace

Expected<ProgramResult> run_to_end(const Program& program) {
  auto child = Subprocess::start(program);
  if (!child) return child.error();
  ProgramResult result;
  follow(program, *child, result);
  const auto status = child->wait();
  if (!status) return status.error();
  result.status = *status;
  return result;
}

}  // namespace vs
