// A program of the host, run to its end.
#pragma once

#include <string>
#include <vector>

namespace vs::isolation {

// Looked for in PATH. Throws Error naming it when it cannot be run or ends with a status other than 0.
void run_program(const std::vector<std::string>& command);

}  // namespace vs::isolation
