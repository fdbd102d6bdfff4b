#include "isolation/context/spectator.h"

#include <signal.h>
#include <unistd.h>

#include "isolation/confine/syscall_filter.h"
#include "isolation/context/arguments.h"
#include "isolation/context/init.h"

namespace vs::isolation {
namespace {

volatile pid_t passed_to = 0;  // for the handler
void pass(int signal) {
  ::kill(passed_to, signal);
}

}  // namespace

Child start_spectator(Contexts& contexts, CapabilitySet keep, const std::function<void()>& first,
                      const std::function<int()>& body) {
  return contexts.spectate([&] {
    first();
    ok_or_throw(filter_namespaces());
    ok_or_throw(keep_only(keep & secure_capabilities()));
    return body();
  });
}

std::vector<std::string> command_for_context_1(Arguments& arguments, int argc, char** argv,
                                               const std::string& program) {
  auto command = arguments.pass_through(argc, argv);
  command.insert(command.begin(), program);
  if (::geteuid() != 0) throw Error("must be run by root");
  return command;
}

Child start_watching(Contexts& contexts, const std::string& program, const std::vector<std::string>& command,
                     int output) {
  return start_spectator(
      contexts, all_capabilities(), [] {},
      [&]() -> int {
        if (output < 0)
          return run_init(InitEnds::with_command, [&] { return exec_program(program, command); });
        // One process, whose number is known: it is in its own list.
        return ::dup2(output, STDOUT_FILENO) < 0 ? 125 : exec_program(program, command);
      });
}

int wait_and_pass_on(const Child& child) {
  passed_to = child.pid;
  for (const int signal : {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}) ::signal(signal, pass);
  for (const int signal : {SIGINT, SIGQUIT}) ::signal(signal, SIG_IGN);
  return wait_for(child);
}

}  // namespace vs::isolation
