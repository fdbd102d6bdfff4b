#include "backup/archive/guest_changes.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <utility>

namespace vs::backup {
namespace {

// Which names of a state were one inode: by path, and how many names each group had.
struct LinkGroups {
  std::map<std::string, uint64_t> of_path;
  std::map<uint64_t, size_t> size;
};

LinkGroups link_groups(const Dirs& dirs) {
  LinkGroups groups;
  std::vector<Entry> entries;
  for (const auto& [path, bytes] : dirs) {
    if (!decode_dir(bytes, entries)) continue;
    for (size_t i = 1; i < entries.size(); ++i) {
      if (!entries[i].linked) continue;
      groups.of_path[join_path(path, entries[i].name)] = entries[i].group;
      ++groups.size[entries[i].group];
    }
  }
  return groups;
}

}  // namespace

GuestChanges::GuestChanges(const RunView& run, const PoolMembers& members, GuestNumber guest, Dirs previous,
                           bool incremental)
    : run_(run), members_(members), guest_(guest), previous_(std::move(previous)), incremental_(incremental) {
  if (!previous_.empty()) compare_link_groups();
}

// Inodes with several names in this guest alone, and these names.
std::unordered_map<InodeNumber, GuestChanges::Paths> GuestChanges::linked_inodes() const {
  std::unordered_map<InodeNumber, Paths> found;
  const ScannedGuest& tree = run_.host.trees[guest_];
  std::vector<std::pair<DirNumber, std::string>> stack{{tree.root, ""}};
  while (!stack.empty()) {
    const auto [dir, path] = std::move(stack.back());
    stack.pop_back();
    for (const auto& child : run_.host.dirs[dir].children) {
      const Inode& inode = run_.host.inodes[child.inode];
      if (is_dir(inode))
        stack.emplace_back(inode.dir, join_path(path, tree.name(child.name)));
      else if (!inode.shared && inode.names > 1)
        found[child.inode].push_back(join_path(path, tree.name(child.name)));
    }
  }
  return found;
}

void GuestChanges::compare_link_groups() {
  const auto now = linked_inodes();
  if (now.empty()) return;
  LinkGroups before = link_groups(previous_);
  for (const auto& [inode, paths] : now) {
    const auto first = before.of_path.find(paths.front());
    if (first == before.of_path.end() || before.size[first->second] != paths.size()) continue;
    const bool same = std::all_of(paths.begin(), paths.end(), [&](const std::string& path) {
      const auto it = before.of_path.find(path);
      return it != before.of_path.end() && it->second == first->second;
    });
    if (same) same_groups_.insert(inode);
  }
}

DirectoryWants::Want GuestChanges::compare(InodeNumber inode, const Entry* old, bool linked) {
  const Inode& row = run_.host.inodes[inode];
  if (old == nullptr || old->pool != 0 || old->linked != linked || old->type != type_letter(row.mode))
    return DirectoryWants::yes;
  if (!run_.known.known(inode)) {
    const std::lock_guard lock(mutex_);
    unread_[inode] = *old;
    return DirectoryWants::if_changed;
  }
  Entry entry = entry_of(row, run_.known.get(inode));
  entry.linked = linked;
  return same_object(entry, *old) ? DirectoryWants::no : DirectoryWants::yes;
}

DirectoryWants::Want GuestChanges::compare_child(InodeNumber inode, const Entry* old) {
  const Inode& row = run_.host.inodes[inode];
  if (row.shared)
    return old != nullptr && old->pool == members_.of(inode) ? DirectoryWants::no : DirectoryWants::yes;
  if (row.names == 1) return compare(inode, old, false);
  return same_groups_.contains(inode) ? compare(inode, old, true) : DirectoryWants::yes;
}

DirectoryWants GuestChanges::plan_directory(DirNumber dir, const std::string& path) {
  const DirNode& node = run_.host.dirs[dir];
  const auto previous = previous_.find(path);
  before_.clear();
  const bool had = previous != previous_.end() && decode_dir(previous->second, before_);
  DirectoryWants wants;
  wants.children.assign(node.children.size(), DirectoryWants::no);
  size_t known_before = 0;
  bool changed = !had || before_.front().listed != node.listed;
  for (size_t i = 0; i < node.children.size(); ++i) {
    const Child& child = node.children[i];
    if (run_.gone[child.inode]) continue;
    const Entry* old = find_name(before_, run_.host.trees[guest_].name(child.name));
    known_before += old != nullptr ? 1 : 0;
    if (is_dir(run_.host.inodes[child.inode])) {
      changed = changed || old == nullptr || old->type != 'd';
      continue;
    }
    wants.children[i] = compare_child(child.inode, old);
    changed = changed || old == nullptr || wants.children[i] != DirectoryWants::no;
  }
  changed = changed || known_before + 1 != before_.size();
  wants.self = changed ? DirectoryWants::yes : compare(node.inode, &before_.front(), false);
  if (wants.self != DirectoryWants::no && incremental_ && node.listed)
    wants.list = list_of(node, wants.children);
  return wants;
}

// GNU.dumpdir: D a directory, Y what is in this archive, N what is as it was.
std::string GuestChanges::list_of(const DirNode& node, const std::vector<DirectoryWants::Want>& wants) const {
  std::string list;
  for (size_t i = 0; i < node.children.size(); ++i) {
    const Child& child = node.children[i];
    const Inode& inode = run_.host.inodes[child.inode];
    if (run_.gone[child.inode]) continue;
    const bool here = wants[i] != DirectoryWants::no && !S_ISSOCK(inode.mode);
    list += is_dir(inode) ? 'D' : here ? 'Y' : 'N';
    list.append(run_.host.trees[guest_].name(child.name)).push_back('\0');
  }
  list.push_back('\0');
  return list;
}

bool GuestChanges::may_have(InodeNumber inode, const Inode& row) const {
  const std::lock_guard lock(mutex_);
  const auto it = unread_.find(inode);
  return it != unread_.end() && it->second.type == 'f' && it->second.size == row.size &&
         it->second.mtime_ns == row.mtime_ns;
}

bool GuestChanges::has(InodeNumber inode, Entry entry) const {
  const std::lock_guard lock(mutex_);
  const auto it = unread_.find(inode);
  if (it == unread_.end()) return false;
  entry.linked = it->second.linked;
  return same_object(entry, it->second);
}

}  // namespace vs::backup
