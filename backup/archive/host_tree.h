// The name under which the files of the host that belong to a guest stand beside its tree: `.host.NAME`. No
// guest has such a name, and nothing of a guest's tree is stored under it, so a guest cannot put there what
// its administrator would take for his own.
#pragma once

#include <string>
#include <string_view>

namespace vs::backup {

std::string host_tree_of(std::string_view guest);  // ".host.NAME"
bool is_host_tree(std::string_view tree);
// The guest that a tree is of: of ".host.NAME" it is NAME, of any other the tree itself.
std::string guest_of_tree(const std::string& tree);

}  // namespace vs::backup
