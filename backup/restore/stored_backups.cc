#include "backup/restore/stored_backups.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "backup/archive/host_tree.h"
#include "core/escape.h"

namespace vs::backup {

Selection parse_selection(const std::string& text, const std::vector<std::string>& guests,
                          const std::string& path) {
  Selection selection;
  // A name may itself have an '@': the longest that fits.
  const auto fits = [&](const std::string& name) {
    return text.starts_with(name) && name.size() > selection.guest.size() &&
           (text.size() == name.size() || text[name.size()] == '@' || text[name.size()] == ':');
  };
  for (const auto& guest : guests)
    for (const auto& name : {guest, host_tree_of(guest)})
      if (fits(name)) selection.guest = name;
  if (selection.guest.empty())
    throw Error(
        escaped(path) + " has no backup of '" + escaped(text.substr(0, text.find_first_of("@:"))) + "'",
        Exit::usage);
  std::string_view rest = std::string_view(text).substr(selection.guest.size());
  if (rest.starts_with('@')) {
    rest.remove_prefix(1);
    selection.time = take_state_time(rest);
  }
  if (rest.starts_with(':')) selection.path = rest.substr(1);
  while (selection.path.starts_with('/')) selection.path.erase(0, 1);
  while (selection.path.ends_with('/')) selection.path.pop_back();
  return selection;
}

StoredBackups::StoredBackups(const std::string& path) : path_(path) {
  struct ::stat stat;
  if (::stat(path.c_str(), &stat) != 0) throw Error(problem_from_errno("open", path).message, Exit::usage);
  if (S_ISDIR(stat.st_mode)) {
    set_ = std::make_unique<ArchiveSet>(path);
    return;
  }
  auto file = FramedFile::open(AT_FDCWD, path, path);
  if (!file) throw Error(file.error().message, Exit::usage);
  if (!(*file)->damage().empty()) throw Error((*file)->damage(), Exit::failed);
  const auto payload = value_or_throw((*file)->payload());
  if (payload.empty()) throw Error(escaped(path) + ": no catalog in it; restore it with tar", Exit::usage);
  single_ = value_or_throw(parse_catalog(payload, path));
  if (single_->header.kind != "single")
    throw Error(escaped(path) + " is a part of a set; name the directory of the set", Exit::usage);
  open_.emplace("", *file);
}

std::vector<std::string> StoredBackups::guests() const {
  if (set_) return set_->guests();
  std::vector<std::string> names;
  for (const auto& [tree, dirs] : single_->dirs)
    if (!is_host_tree(tree)) names.push_back(tree);
  return names;
}

Expected<std::string> StoredBackups::stamp(const std::string& guest, const StampLimit& limit) const {
  if (set_) {
    const auto chain = set_->chain(guest, limit);
    if (!chain) return chain.error();
    return chain->back().header.stamp;
  }
  if (single_->dirs.contains(guest) && (!limit || single_->header.stamp <= *limit)) {
    return single_->header.stamp;
  }
  if (is_host_tree(guest)) return no_host_files(guest, single_->header.stamp);
  return no_state(path_, guest, limit);
}

Expected<GuestState> StoredBackups::state(const std::string& guest, const StampLimit& limit) {
  const auto found = stamp(guest, limit);
  if (!found) return found.error();
  if (set_) return set_->state(guest, limit);
  GuestState state;
  state.guest = guest;
  state.stamp = *found;
  Archive archive;
  archive.name = "";
  archive.header = single_->header;
  state.chain.push_back(archive);
  state.dirs = single_->dirs.at(guest);
  drop_unreachable(state.dirs);
  return state;
}

const std::map<uint64_t, Entry>& StoredBackups::pool() {
  if (single_) return single_->pool;
  if (!pool_) pool_ = value_or_throw(set_->pool());
  return *pool_;
}

Expected<std::shared_ptr<FramedFile>> StoredBackups::archive_of(const GuestState& state, const Entry& entry) {
  if (single_) return open_.at("");
  if (entry.archive >= state.chain.size())
    return Problem{
        0, "a catalog of " + escaped(state.guest) + " refers to an archive that its chain does not have"};
  const std::string& name = state.chain[entry.archive].name;
  if (!open_.contains(name)) open_.emplace(name, set_->open(name));
  return open_.at(name);
}

Expected<std::shared_ptr<FramedFile>> StoredBackups::pool_archive(const Entry& member) {
  if (single_) return open_.at("");
  const std::string name = "pool-" + std::to_string(member.archive);
  if (!open_.contains(name)) open_.emplace(name, set_->open(name));
  return open_.at(name);
}

std::pair<const Catalog*, std::shared_ptr<FramedFile>> StoredBackups::single() const {
  if (!single_) return {nullptr, nullptr};
  return {&*single_, *open_.at("")};
}

std::vector<Selection> with_host_trees(StoredBackups& backups, std::vector<Selection> selections) {
  std::vector<Selection> found;
  for (const auto& one : selections) {
    if (!one.path.empty() || is_host_tree(one.guest)) continue;
    Selection host{host_tree_of(one.guest), one.time, "", std::nullopt, true};
    if (one.as) host.as = host_tree_of(*one.as);
    const bool named = std::any_of(selections.begin(), selections.end(),
                                   [&](const Selection& other) { return other.name() == host.name(); });
    if (!named && backups.state(host.guest, host.limit())) found.push_back(std::move(host));
  }
  selections.insert(selections.end(), found.begin(), found.end());
  return selections;
}

std::vector<std::string> StoredBackups::problems() const {
  return set_ ? set_->problems() : std::vector<std::string>{};
}

Expected<Entry> member_of(const Entry& name, const std::map<uint64_t, Entry>& pool) {
  const auto member = pool.find(name.pool);
  if (member == pool.end())
    return Problem{ENODATA, fmt::format("pool member {} is in no pool archive", name.pool)};
  if (is_other_member(name, member->second))
    return Problem{ENODATA,
                   fmt::format("pool member {} is another file than the one that was stored", name.pool)};
  return member->second;
}

Expected<Entry> find_entry(const GuestState& state, const std::map<uint64_t, Entry>& pool,
                           const std::string& path) {
  const auto shown = [&] { return escaped(state.guest) + "@" + state.stamp; };
  const Problem none{ENOENT, fmt::format("{}: no '{}' in it", shown(), escaped(path))};
  std::vector<Entry> entries;
  if (const auto dir = state.dirs.find(path); dir != state.dirs.end() && decode_dir(dir->second, entries)) {
    entries.front().name = split_path(path).second;
    return entries.front();
  }
  const auto [parent, name] = split_path(path);
  const auto dir = state.dirs.find(std::string(parent));
  if (path.empty() || dir == state.dirs.end() || !decode_dir(dir->second, entries)) return none;
  for (size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].name != name) continue;
    if (entries[i].pool == 0) return entries[i];
    auto entry = member_of(entries[i], pool);
    if (!entry)
      return Problem{ENODATA, fmt::format("{}: {}: {}", shown(), escaped(path), entry.error().message)};
    entry->name = name;
    entry->pool = entries[i].pool;
    return entry;
  }
  return none;
}

}  // namespace vs::backup
