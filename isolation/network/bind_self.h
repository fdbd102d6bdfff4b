// What chbind and the v_SERVICE wrappers do to themselves before they become their command.
#pragma once

#include <string>
#include <vector>

namespace vs::isolation {

// Ties this process, and all it starts, to these addresses, names or interfaces; says "ipv4root is now ..."
// unless `silent`. In a cgroup of its own that is swept when it is empty. Cannot be taken back. Throws
// Error(Exit::usage) for what is no address or too many.
void bind_self(const std::vector<std::string>& given, bool silent);

}  // namespace vs::isolation
