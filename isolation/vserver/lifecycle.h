// Starting, stopping and entering one vserver. README.md lists the steps of start in order.
//
// What a started vserver holds on the host (addresses, cgroup, context) is written to /run/vservers/NAME.held
// before it is taken. Stop gives back what is in that file, and so does every later command on the vserver
// that finds it without a living context: a start killed at any step is cleaned by the next command.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/log.h"
#include "isolation/context/cgroup.h"
#include "isolation/context/context.h"
#include "isolation/context/places.h"
#include "isolation/vserver/container_spec.h"

namespace vs::isolation {

struct Runtime {
  Places places;
  std::unique_ptr<Contexts> contexts;
  Cgroups cgroups;
  Log& log;
  bool add_addresses = true;  // --nodev
};
Runtime make_runtime(Log& log);

// Both are idempotent: starting what runs and stopping what does not is done already. Throw Error; then
// nothing of a start remains.
void start_vserver(Runtime& runtime, const std::string& name);
void stop_vserver(Runtime& runtime, const std::string& name);

// The living context of a vserver. Cleans up after a start that was killed or a guest that ended by itself,
// unless another command is at it.
std::optional<ContextInfo> running_context(Runtime& runtime, const std::string& name);

struct ExecOptions {
  std::string user = "root";
  bool login = false;  // the user's shell as a login shell; no command
  std::vector<std::string> command = {};
  std::function<int()> instead =
      {};  // run in the child in place of a command, with the guest's own files for input and output
  long limit_seconds = 0;  // 0: none; then it is left to itself
};
// The command's exit status.
int exec_in_vserver(Runtime& runtime, const std::string& name, const ExecOptions& options);
int exec_in_context(Runtime& runtime, const ContextInfo& context, const ExecOptions& options);

}  // namespace vs::isolation
