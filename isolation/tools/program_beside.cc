#include "isolation/tools/program_beside.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "core/error.h"
#include "core/unique_fd.h"
#include "isolation/context/arguments.h"
#include "isolation/context/run_program.h"

namespace vs::isolation {

std::string program_beside(const std::string& name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string beside = self.parent_path() / name;
  return !error && ::access(beside.c_str(), X_OK) == 0 ? beside : name;
}

namespace {

constexpr size_t kMostOutput = 4 << 20;

int run(const std::vector<std::string>& command, std::string* output) {
  int ends[2] = {-1, -1};
  if (output != nullptr && ::pipe2(ends, O_CLOEXEC) != 0)
    throw Error(problem_from_errno("make", "a pipe").message);
  UniqueFd from(ends[0]), to(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) throw Error(problem_from_errno("start", command.at(0)).message);
  if (pid == 0) {
    if (to) ::dup2(to.get(), STDOUT_FILENO);
    ::syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);
    ::_exit(become(command.at(0), command));
  }
  to.reset();
  // The terminal's interrupt is for the command, which tells what became of it.
  const auto interrupt = ::signal(SIGINT, SIG_IGN), quit = ::signal(SIGQUIT, SIG_IGN);
  char buffer[16384];
  for (ssize_t got;
       from && ((got = ::read(from.get(), buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR));)
    if (got > 0 && output->size() < kMostOutput) output->append(buffer, static_cast<size_t>(got));
  const int status = wait_for_child(pid);
  ::signal(SIGINT, interrupt);
  ::signal(SIGQUIT, quit);
  return status;
}

}  // namespace

int status_of(const std::vector<std::string>& command) {
  return run(command, nullptr);
}
int output_of(const std::vector<std::string>& command, std::string& output) {
  return run(command, &output);
}

}  // namespace vs::isolation
