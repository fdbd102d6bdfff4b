// A process in the background has no terminal: what is written to stderr goes to the system's log.
#pragma once

namespace vs::backup {

// From now on, each line by itself, under this name. Once; where there are no threads yet.
void send_stderr_to_system_log(const char* program);

}  // namespace vs::backup
