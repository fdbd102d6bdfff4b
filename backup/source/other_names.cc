#include "backup/source/other_names.h"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace vs::backup {
namespace {

std::string path_of(const ScannedHost& host, const ScannedName& name) {
  return join_path(host.dir_path(name.guest, name.dir),
                   host.trees[name.guest].name(host.dirs[name.dir].children[name.child].name));
}

}  // namespace

OtherNames::OtherNames(const ScannedHost& host, GuestNumber first, GuestNumber last,
                       const std::function<bool(InodeNumber inode)>& wanted)
    : host_(host) {
  for (GuestNumber guest = first; guest < last; ++guest) {
    std::vector<DirNumber> stack{host.trees[guest].root};
    while (!stack.empty()) {
      const DirNumber dir = stack.back();
      stack.pop_back();
      const auto& children = host.dirs[dir].children;
      for (size_t child = 0; child < children.size(); ++child) {
        const InodeNumber inode = children[child].inode;
        if (is_dir(host.inodes[inode]))
          stack.push_back(host.inodes[inode].dir);
        else if (wanted(inode))
          names_[inode].push_back({guest, dir, child});
      }
    }
  }
}

const std::vector<ScannedName>& OtherNames::of(InodeNumber inode) const {
  static const std::vector<ScannedName> none;
  const auto it = names_.find(inode);
  return it == names_.end() ? none : it->second;
}

Expected<OtherNames::Found> OtherNames::open(InodeNumber inode) const {
  Problem problem{ESTALE, "none of its names leads to it"};
  for (const auto& name : of(inode)) {
    std::string path = path_of(host_, name);
    auto opened = open_inode(host_, host_.inodes[inode], name.guest, path);
    if (opened) return Found{name.guest, std::move(path), std::make_shared<OpenedInode>(std::move(*opened))};
    if (!is_gone(opened.error()) && opened.error().code != ESTALE) problem = opened.error();
  }
  return problem;
}

void split_names(ScannedHost& host, const std::vector<ScannedName>& names) {
  for (const auto& name : names) {
    Child& child = host.dirs[name.dir].children[name.child];
    Inode own = host.inodes[child.inode];
    own.guest = name.guest;
    own.dir = name.dir;
    own.name = child.name;
    own.names = 1;
    own.sealed = own.shared = false;
    child.inode = host.inodes.next_number();
    host.inodes.push_back(own);
  }
}

}  // namespace vs::backup
