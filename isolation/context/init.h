// Process 1 of contexts that have no init of their own: starts one command, reaps what is orphaned, ends with
// it or with the last.
#pragma once

#include <functional>

namespace vs::isolation {

enum class InitEnds {
  with_command,  // chcontext: the exit status of the command is that of the context
  when_asked  // vserver without an init: lives on after the start script; on SIGTERM ends all others and then
              // itself
};

// Must be called by process 1 of a pid namespace. `command` runs in a child and does not return on success.
int run_init(InitEnds ends, const std::function<int()>& command);

}  // namespace vs::isolation
