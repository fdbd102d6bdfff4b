// Commands of the host in a vserver that runs.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "isolation/context/context.h"
#include "isolation/vserver/runtime.h"

namespace vs::isolation {

struct ExecOptions {
  std::string user = "root";
  bool login = false;  // the user's shell as a login shell; no command
  std::vector<std::string> command = {};
  std::function<int()> instead =
      {};  // run in the child in place of a command, with the guest's own files for input and output
  long limit_seconds = 0;  // 0: none; then it is left to itself
};
// The command's exit status. Throws Error when it could not be run at all.
int exec_in_context(Runtime& runtime, const ContextInfo& context, const ExecOptions& options);

}  // namespace vs::isolation
