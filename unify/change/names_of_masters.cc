#include "unify/change/names_of_masters.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <tuple>

#include "unify/change/journal.h"
#include "unify/scan/scanner.h"

namespace vs::unify {
namespace {

class MasterNameDirectory final : public DirectoryVisitor {
 public:
  explicit MasterNameDirectory(const MasterTable& masters) : masters_(masters) {}
  std::optional<uint32_t> wants(const DirEntry& entry) override {
    const auto master = masters_.find(entry.ino);
    return master ? std::optional(master->value) : std::nullopt;
  }

 private:
  const MasterTable& masters_;
};

class MasterNameVisitor final : public ScanVisitor {
 public:
  explicit MasterNameVisitor(const MasterTable& masters) : masters_(masters) {}
  std::unique_ptr<DirectoryVisitor> enter(GuestNumber, std::string_view, const FileStat&) override {
    return std::make_unique<MasterNameDirectory>(masters_);
  }

 private:
  const MasterTable& masters_;
};

// True for a path that leads to nothing or through something that is no directory any more; false also when
// that cannot be told.
bool surely_gone(const RootDir& root, std::string_view path) {
  const auto [parent, name] = split_path(path);
  const auto dir = root.open_dir(parent);
  const int code = dir ? 0 : dir.error().code;
  if (!dir) return code == ENOENT || code == ENOTDIR || code == ELOOP;
  const auto stat = stat_at(dir->get(), std::string(name).c_str(), root.host_path(path));
  return stat || stat.error().code ==
                     ENOENT;  // one that can be looked at is another file: the walk would have found it
}

// Notes which names were hard links of one another. One that the walk could not look at (a read error, a
// mount above it) may still be a name of the master: it comes along, so that its group is refused as a whole
// if it cannot be released with the others.
void add_link_groups(Guests guests, const std::map<std::pair<std::string, std::string>, uint64_t>& groups,
                     std::vector<NameOfMaster>& names) {
  std::map<std::pair<GuestNumber, uint64_t>, std::set<MasterNumber>> masters;  // of (guest, link group)
  std::set<std::pair<GuestNumber, std::string>> found;
  for (auto& name : names) {
    const auto it = groups.find({guests[name.guest].name, name.path});
    if (it == groups.end()) continue;
    name.link_group = it->second;
    masters[{name.guest, name.link_group}].insert(name.master);
    found.emplace(name.guest, name.path);
  }
  for (GuestNumber guest; guest < guests.next_number(); ++guest)
    for (auto it = groups.lower_bound({guests[guest].name, ""});
         it != groups.end() && it->first.first == guests[guest].name; ++it) {
      const auto of = masters.find({guest, it->second});
      const std::string& path = it->first.second;
      if (of == masters.end() || found.contains({guest, path}) || surely_gone(guests[guest].root, path))
        continue;
      for (const MasterNumber master : of->second) names.push_back({guest, master, path, it->second, false});
    }
}

}  // namespace

bool were_linked(const NameOfMaster& a, const NameOfMaster& b) {
  return a.master == b.master && a.guest == b.guest && a.link_group == b.link_group && a.link_group != 0;
}

std::vector<NameOfMaster> find_names_of_masters(Guests guests, const MasterTable& masters,
                                                const std::string& state_dir, RunContext& context) {
  std::vector<NameOfMaster> names;
  if (masters.empty()) return names;
  MasterNameVisitor visitor(masters);
  FileTable table;
  context.progress.start("scan", "entries", 0);
  scan_trees(guests, visitor, table, context);
  context.progress.finish();
  for (const auto& row : table.rows())
    if (const MasterNumber master(row.tag); masters[master].ino == row.ino)
      names.push_back({.guest = table.guest(row), .master = master, .path = table.path(row)});
  add_link_groups(guests, known_link_groups(state_dir), names);
  std::sort(names.begin(), names.end(), [](const NameOfMaster& a, const NameOfMaster& b) {
    return std::tie(a.master, a.guest, a.link_group, a.path) <
           std::tie(b.master, b.guest, b.link_group, b.path);
  });
  return names;
}

std::vector<NameOfMaster> select_names(std::vector<NameOfMaster> names,
                                       const std::function<bool(const NameOfMaster&)>& wanted) {
  std::set<std::tuple<MasterNumber, GuestNumber, uint64_t>> groups;
  std::vector<bool> chosen;
  for (const auto& name : names) {
    chosen.push_back(wanted(name));
    if (chosen.back() && name.link_group != 0) groups.emplace(name.master, name.guest, name.link_group);
  }
  std::vector<NameOfMaster> selected;
  for (size_t i = 0; i < names.size(); ++i)
    if (chosen[i] ||
        (names[i].link_group != 0 && groups.contains({names[i].master, names[i].guest, names[i].link_group})))
      selected.push_back(std::move(names[i]));
  return selected;
}

std::vector<MasterNumber> spoiled_masters(const Store& store, const MasterTable& masters) {
  std::vector<MasterNumber> spoiled;
  for (MasterNumber i; i < masters.next_number(); ++i) {
    const MasterRecord& record = masters[i];
    if (!record.retired) continue;
    const auto fd = store.open_master(record.name);
    if (!fd) continue;
    const auto stat = stat_fd(fd->get(), store.shown_master(record.name));
    if (!stat || stat->nlink <= 1) continue;
    const auto right =
        has_class(fd->get(), *stat, record.file_class, record.xattrs, store.shown_master(record.name));
    if (!right) continue;
    const auto digests = *right ? digest_file(fd->get(), DigestAlgorithm::none, record.name)
                                : Expected<Digests>(Problem{ESTALE, ""});
    if (!digests || digests->sha256 != record.sha256) spoiled.push_back(i);
  }
  return spoiled;
}

}  // namespace vs::unify
