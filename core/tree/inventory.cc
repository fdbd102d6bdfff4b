#include "core/tree/inventory.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "core/escape.h"
#include "core/tree/nodev_mount.h"

namespace vs {
namespace {

namespace fs = std::filesystem;

void check_name(const std::string& name, const std::string& where) {
  const bool bad =
      name.empty() || escaped(name) != name || name[0] == '.' || name[0] == '-' || name.size() > 128 ||
      std::any_of(name.begin(), name.end(), [](char c) {
        return static_cast<unsigned char>(c) <= ' ' || c == '/' || c == '=' || c == 127 || c == ':';
      });
  if (bad)
    throw Error(
        fmt::format("{}: '{}' cannot name a vserver: expected up to 128 characters without '/', ':', '=', "
                    "blanks or control characters, not beginning with '.' or '-'",
                    where, escaped(name)),
        Exit::usage);
}

std::vector<std::string> entries(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

struct Found {
  std::string name, source, path;
};

// Beside trees there are the images of nspawn (NAME.raw), what fsck finds, and hidden directories.
bool can_be_a_tree(const std::string& name, const std::string& path) {
  std::error_code error;
  return !name.starts_with('.') && name != "lost+found" && fs::is_directory(path, error);
}

// A symbolic link to a tree that is found by its own name is another name of it, and no guest.
void drop_aliases(std::vector<Found>& found) {
  std::error_code error;
  std::set<fs::path> trees;
  for (const auto& one : found)
    if (!fs::is_symlink(one.path, error)) trees.insert(fs::canonical(one.path, error));
  std::erase_if(found, [&](const Found& one) {
    return fs::is_symlink(one.path, error) && trees.contains(fs::canonical(one.path, error));
  });
}

// A vserver is known by its NAME.conf; a directory below /vservers without one counts too (it may be built by
// hand).
std::vector<Found> look_around(const InventoryOptions& options) {
  std::vector<Found> found;
  std::map<std::string, bool> vservers;
  for (const auto& name : entries(options.vserver_conf))
    if (name.ends_with(".conf") && name.size() > 5) vservers[name.substr(0, name.size() - 5)] = true;
  for (const auto& name : entries(options.vserver_trees)) vservers[name] = true;
  for (const auto& [name, _] : vservers)
    if (can_be_a_tree(name, options.vserver_trees + "/" + name))
      found.push_back({name, "vserver", options.vserver_trees + "/" + name});
  for (const auto& name : entries(options.nspawn_trees))
    if (can_be_a_tree(name, options.nspawn_trees + "/" + name))
      found.push_back({name, "nspawn", options.nspawn_trees + "/" + name});
  for (const auto& name : entries(options.lxc_trees))
    if (can_be_a_tree(name, options.lxc_trees + "/" + name + "/rootfs"))
      found.push_back({name, "lxc", options.lxc_trees + "/" + name + "/rootfs"});
  drop_aliases(found);
  // One name in two places (nspawn and lxc, say): told apart by the source.
  std::map<std::string, int> uses;
  for (const auto& one : found) ++uses[one.name];
  for (auto& one : found)
    if (uses[one.name] > 1 && one.source != "vserver") one.name += "@" + one.source;
  return found;
}

std::vector<Found> parse_trees(const std::vector<std::string>& trees) {
  std::vector<Found> found;
  for (const auto& tree : trees) {
    const size_t equal = tree.find('=');
    if (equal == std::string::npos || equal + 1 == tree.size())
      throw Error("--tree " + escaped(tree) + ": expected NAME=DIR", Exit::usage);
    found.push_back({tree.substr(0, equal), "--tree", tree.substr(equal + 1)});
    check_name(found.back().name, "--tree " + escaped(tree));
  }
  return found;
}

// (dev, ino) of every directory from the tree up to "/", the tree first.
std::vector<std::pair<uint64_t, uint64_t>> ancestors(const RootDir& root) {
  std::vector<std::pair<uint64_t, uint64_t>> chain{{root.stat().dev, root.stat().ino}};
  for (UniqueFd at = value_or_throw(open_above(root.fd()));; at = value_or_throw(open_above(at.get()))) {
    const auto stat = value_or_throw(stat_fd(at.get(), path_of_fd(at.get())));
    if (chain.back() == std::make_pair(stat.dev, stat.ino)) return chain;
    chain.emplace_back(stat.dev, stat.ino);
  }
}

void refuse_host_root(const Guest& guest) {
  const RootDir host("/");
  if (guest.root.stat().dev == host.stat().dev && guest.root.stat().ino == host.stat().ino)
    throw Error(fmt::format("tree {}={} is the root of this host; a vserver's tree must lie below it",
                            guest.name, guest.root.path()),
                Exit::usage);
}

void refuse_overlaps(const std::vector<Guest>& guests) {
  std::map<std::pair<uint64_t, uint64_t>, const Guest*> roots;
  for (const auto& guest : guests) {
    const auto [it, fresh] =
        roots.emplace(std::make_pair(guest.root.stat().dev, guest.root.stat().ino), &guest);
    if (!fresh)
      throw Error(fmt::format("{} and {} are the same tree: {} and {}", it->second->name, guest.name,
                              it->second->root.path(), guest.root.path()),
                  Exit::usage);
  }
  for (const auto& guest : guests) {
    const auto chain = ancestors(guest.root);
    for (size_t i = 1; i < chain.size(); ++i)
      if (const auto it = roots.find(chain[i]); it != roots.end())
        throw Error(fmt::format("trees overlap: {} ({}) lies inside {} ({})", guest.name, guest.root.path(),
                                it->second->name, it->second->root.path()),
                    Exit::usage);
  }
}

}  // namespace

std::vector<Guest> find_guests(const InventoryOptions& options, std::vector<std::string>& warnings,
                               std::vector<std::string>* left_out) {
  const bool named = !options.trees.empty();
  std::vector<Guest> guests;
  std::set<std::string> names;
  for (auto& found : named ? parse_trees(options.trees) : look_around(options)) {
    if (!names.insert(found.name).second) throw Error("two trees are named " + found.name, Exit::usage);
    try {
      if (!named) check_name(found.name, escaped(found.path));
      guests.push_back({found.name, found.source, RootDir(found.path)});
    } catch (const Error& error) {
      if (named && !options.leave_out_trees) throw;
      if (left_out != nullptr) left_out->push_back(found.name);
      warnings.push_back(fmt::format("{} left out: {}", escaped(found.name), error.what()));
    }
  }
  for (const auto& guest : guests) refuse_host_root(guest);
  refuse_overlaps(guests);
  if (!options.pool.empty()) {
    const RootDir pool(options.pool);
    std::erase_if(guests,
                  [&](const Guest& guest) { return guest.root.stat().mount_id != pool.stat().mount_id; });
  }
  std::sort(guests.begin(), guests.end(), [](const Guest& a, const Guest& b) { return a.name < b.name; });
  return guests;
}

}  // namespace vs
