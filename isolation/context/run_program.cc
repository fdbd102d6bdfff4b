#include "isolation/context/run_program.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <cerrno>

#include "core/subprocess.h"

namespace vs::isolation {

void run_program(const std::vector<std::string>& command) {
  const auto result = value_or_throw(run_to_end({.arguments = command}));
  if (!result.status.success()) throw Error(fmt::format("{} {}", command[0], result.status.words()));
}

int shell_status(int wait_status) {
  return ExitStatus(wait_status).shell();
}

int wait_for_child(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return 125;
  return shell_status(status);
}

}  // namespace vs::isolation
