#include "backup/archive/host_tree.h"

namespace vs::backup {
namespace {

constexpr std::string_view kHostTree = ".host.";

}  // namespace

std::string host_tree_of(std::string_view guest) {
  return std::string(kHostTree).append(guest);
}

bool is_host_tree(std::string_view tree) {
  return tree.starts_with(kHostTree) && tree.size() > kHostTree.size();
}

std::string guest_of_tree(const std::string& tree) {
  return is_host_tree(tree) ? tree.substr(kHostTree.size()) : tree;
}

}  // namespace vs::backup
