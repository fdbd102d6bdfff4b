// Programs of this package that a tool runs: isolation/ and unify/ know each other by name only.
#pragma once

#include <string>
#include <vector>

namespace vs::isolation {

// The one in the directory of the running program, else the name alone, for PATH. Not after
// run_from_read_only_self, which has no directory any more.
std::string program_beside(const std::string& name);
// In a child, with this process's own input and output; its exit status as a shell says it, 126 or 127 when
// it could not be run. It keeps no descriptor but the three.
int status_of(const std::vector<std::string>& command);
// The same with its stdout in `output`, up to 4 MiB of it.
int output_of(const std::vector<std::string>& command, std::string& output);

}  // namespace vs::isolation
