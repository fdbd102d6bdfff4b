#include "isolation/tools/program_beside.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "core/subprocess.h"

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
  std::fflush(stdout);
  Program program{.arguments = command};
  if (output != nullptr) program.out = Stream::capture(kMostOutput);
  // The terminal's interrupt is for the command, and this process tells what became of it.
  const auto interrupt = ::signal(SIGINT, SIG_IGN), quit = ::signal(SIGQUIT, SIG_IGN);
  program.before_exec = [=] {
    ::signal(SIGINT, interrupt);
    ::signal(SIGQUIT, quit);
    return 0;
  };
  auto result = run_to_end(program);
  ::signal(SIGINT, interrupt);
  ::signal(SIGQUIT, quit);
  if (!result) {
    fmt::print(stderr, "error: {}\n", result.error().message);
    return result.error().code == ENOENT ? 127 : 126;
  }
  if (output != nullptr) *output = std::move(result->out);
  return result->status.shell();
}

}  // namespace

int status_of(const std::vector<std::string>& command) {
  return run(command, nullptr);
}
int output_of(const std::vector<std::string>& command, std::string& output) {
  return run(command, &output);
}

}  // namespace vs::isolation
