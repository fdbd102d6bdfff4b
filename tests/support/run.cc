#include "tests/support/run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "core/subprocess.h"

namespace vs::test {
namespace {

std::string all_of(int fd) {
  std::string text;
  char buffer[65536];
  for (off_t at = 0;;) {
    const ssize_t got = ::pread(fd, buffer, sizeof buffer, at);
    if (got <= 0) return text;
    text.append(buffer, static_cast<size_t>(got));
    at += got;
  }
}

std::vector<std::string> environment_of(const RunOptions& options) {
  std::map<std::string, std::string> all;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) all[text.substr(0, equals)] = text.substr(equals + 1);
  }
  all["LC_ALL"] = "C";
  for (const auto& [name, value] : options.env) all[name] = value;
  std::vector<std::string> environment;
  for (const auto& [name, value] : all) environment.push_back(name + "=" + value);
  return environment;
}

// The last steps in the child.
int give_up_rights(const std::optional<uid_t>& uid) {
  // A test may be killed itself; what it started must not go on working on its loop filesystems.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (uid && (::setgroups(0, nullptr) != 0 || ::setgid(*uid) != 0 || ::setuid(*uid) != 0)) return errno;
  return 0;
}

}  // namespace

std::string shown(const RunResult& result) {
  const auto tail = [](const std::string& text) {
    return text.size() > 3000 ? text.substr(text.size() - 3000) : text;
  };
  return fmt::format(
      "{}{}\nstdout: {}\nstderr: {}", result.timed_out ? "timed out, " : "",
      result.signal ? fmt::format("signal {}", result.signal) : fmt::format("exit {}", result.exit_code),
      tail(result.out), tail(result.err));
}

Process::Process(const Command& command, const RunOptions& options) : timeout_(options.timeout) {
  // Memory files, not pipes: a command that writes a lot never waits for the test.
  out_ = ::memfd_create("stdout", MFD_CLOEXEC);
  err_ = ::memfd_create("stderr", MFD_CLOEXEC);
  Program program{.arguments = command,
                  .environment = environment_of(options),
                  .in = Stream::null(),
                  .out = Stream::file(out_),
                  .err = Stream::file(err_),
                  .own_group = true};
  program.before_exec = [&] { return give_up_rights(options.uid); };
  auto child = Subprocess::start(program);
  if (!child) throw std::runtime_error(fmt::format("{}: {}", fmt::join(command, " "), child.error().message));
  pidfd_ = ::fcntl(child->pidfd(), F_DUPFD_CLOEXEC, 3);
  pid_ = child->release();
}

Process::~Process() {
  if (pid_ > 0) {
    signal_group(SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  for (const int fd : {pidfd_, out_, err_})
    if (fd >= 0) ::close(fd);
}

void Process::signal(int number) const {
  ::kill(pid_, number);
}
void Process::signal_group(int number) const {
  ::killpg(pid_, number);
}

bool Process::running() const {
  pollfd poll{pidfd_, POLLIN, 0};
  return ::poll(&poll, 1, 0) == 0;
}

RunResult Process::wait() {
  RunResult result;
  pollfd poll{pidfd_, POLLIN, 0};
  while (::poll(&poll, 1, static_cast<int>(timeout_.count())) < 0 && errno == EINTR) {
  }
  if (!(poll.revents & POLLIN)) {
    result.timed_out = true;
    signal_group(SIGKILL);
  }
  int status = 0;
  ::waitpid(pid_, &status, 0);
  ::killpg(pid_, SIGKILL);  // what it left behind
  pid_ = -1;
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  result.out = all_of(out_);
  result.err = all_of(err_);
  return result;
}

RunResult run(const Command& command, const RunOptions& options) {
  return Process(command, options).wait();
}

std::string must_run(const Command& command) {
  const RunResult result = run(command);
  if (result.exit_code != 0)
    throw std::runtime_error(fmt::format("{}: {}", fmt::join(command, " "), shown(result)));
  return result.out;
}

bool have_program(const std::string& name) {
  return run({"sh", "-c", "PATH=$PATH:/usr/sbin:/sbin command -v \"$1\"", "sh", name}).exit_code == 0;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
    std::ifstream list(task.path() / "children");
    for (pid_t child; list >> child;) children.push_back(child);
  }
  return children;
}

}  // namespace vs::test
