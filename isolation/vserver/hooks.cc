#include "isolation/vserver/hooks.h"

#include <fmt/format.h>
#include <unistd.h>

#include <vector>

#include "core/error.h"
#include "isolation/context/run_program.h"

namespace vs::isolation {
namespace {

int run_on_host(const std::vector<std::string>& command) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    std::vector<char*> argv;
    for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  return wait_for_child(pid);
}

}  // namespace

void run_hook(const Places& places, const std::string& name, const char* phase) {
  const std::string script = fmt::format("{}/{}.sh", places.conf, name);
  if (::access(script.c_str(), F_OK) != 0) return;
  if (::access(script.c_str(), X_OK) != 0) throw Error(fmt::format("{} is not executable", script));
  if (const int status = run_on_host({script, phase, name}); status != 0)
    throw Error(fmt::format("{} {} {} ended with status {}", script, phase, name, status));
}

}  // namespace vs::isolation
