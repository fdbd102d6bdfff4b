// What a vserver gets of ours into its tree when it is built.
#pragma once

#include <string>

#include "core/error.h"

namespace vs::isolation {

// vreboot, and vhalt as a link to it, into usr/local/sbin of the tree. What is there already stays. Nothing
// is done, and false is the answer, where the program is not installed on this host or the tree has a
// symbolic link on the way.
Expected<bool> install_guest_tools(const std::string& tree);

}  // namespace vs::isolation
