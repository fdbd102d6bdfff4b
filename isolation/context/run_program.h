// A program of the host, run to its end.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace vs::isolation {

// Looked for in PATH. Throws Error naming it when it cannot be run or ends with a status other than 0.
void run_program(const std::vector<std::string>& command);

// As a shell says it: the exit status, or 128 and the signal. Waits for the end of a child.
int shell_status(int wait_status);
int wait_for_child(pid_t pid);  // 125 when it is none of ours

}  // namespace vs::isolation
