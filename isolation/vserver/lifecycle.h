// Starting, stopping and entering one vserver. README.md lists the steps of start in order.
//
// What a started vserver holds on the host (addresses, cgroup, context) is written to /run/vservers/NAME.held
// before it is taken. Stop gives back what is in that file, and so does every later command on the vserver
// that finds it without a living context: a start killed at any step is cleaned by the next command.
#pragma once

#include <optional>
#include <string>

#include "isolation/context/context.h"
#include "isolation/vserver/exec_in.h"
#include "isolation/vserver/runtime.h"

namespace vs::isolation {

// Both are idempotent: starting what runs and stopping what does not is done already. Throw Error; then
// nothing of a start remains.
void start_vserver(Runtime& runtime, const std::string& name);
void stop_vserver(Runtime& runtime, const std::string& name);

// The living context of a vserver. Cleans up after a start that was killed or a guest that ended by itself,
// unless another command is at it.
std::optional<ContextInfo> running_context(Runtime& runtime, const std::string& name);

// The command's exit status. Throws Error when the vserver does not run.
int exec_in_vserver(Runtime& runtime, const std::string& name, const ExecOptions& options);

}  // namespace vs::isolation
