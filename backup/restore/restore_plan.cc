#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "backup/restore/restore_work.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

class Planner {
 public:
  Planner(StoredBackups& backups, RunContext& context) : backups_(backups), context_(context) {}
  void collect(const Selection& selection);
  RestorePlan take() &&;

 private:
  using Groups = std::unordered_map<uint64_t, size_t>;  // link group -> object; of one guest
  void collect_directory(const GuestState& state, const Selection& selection, const std::string& path,
                         const std::string& bytes, Groups& groups);
  void add(const GuestState& state, const std::string& path, Entry entry, Groups& groups);
  void add_name_of_member(const std::string& path, const Entry& name);
  void place(PlannedObject& object, const std::string& path, Expected<std::shared_ptr<FramedFile>> archive);
  void fail(const std::string& path, const Problem& problem) {
    context_.log.object_failed(fmt::format("{}: {}", escaped(path), problem.message));
  }

  StoredBackups& backups_;
  RunContext& context_;
  RestorePlan plan_;
  std::unordered_map<uint64_t, size_t> members_;  // pool number -> object
};

void Planner::collect(const Selection& selection) {
  auto loaded = backups_.state(selection.guest, selection.limit());
  if (!loaded) throw Error(loaded.error().message, Exit::usage);
  const GuestState state = std::move(*loaded);
  plan_.identity += fmt::format("{}@{}:{}\n", selection.guest, state.stamp, escaped(selection.path));
  if (!find_entry(state, backups_.pool(), selection.path))
    throw Error(
        fmt::format("{}@{}: no '{}' in it", escaped(selection.guest), state.stamp, escaped(selection.path)),
        Exit::usage);
  ++plan_.counts.guests;
  Groups groups;
  for (const auto& [path, bytes] : state.dirs) collect_directory(state, selection, path, bytes, groups);
}

void Planner::collect_directory(const GuestState& state, const Selection& selection, const std::string& path,
                                const std::string& bytes, Groups& groups) {
  const auto [holder, wanted_name] = split_path(selection.path);
  const bool inside =
      selection.path.empty() || path == selection.path || path.starts_with(selection.path + "/");
  // Directories on the way to it are made with their own attributes.
  const bool above = path.empty() || selection.path.starts_with(path + "/");
  const bool holds = !state.dirs.contains(selection.path) && path == holder;
  if (!inside && !above && !holds) return;
  const std::string full = join_path(selection.guest, path);
  std::vector<Entry> entries;
  if (!decode_dir(bytes, entries)) return fail(full, {0, "its record in the catalog makes no sense"});
  plan_.directories.push_back({full, std::move(entries.front())});
  for (size_t i = 1; i < entries.size(); ++i) {
    Entry& entry = entries[i];
    if (entry.type == 'd' || (!inside && !(holds && entry.name == wanted_name))) continue;
    const std::string name = join_path(full, entry.name);
    add(state, name, std::move(entry), groups);
  }
}

void Planner::add_name_of_member(const std::string& path, const Entry& name) {
  const uint64_t number = name.pool;
  const auto member = backups_.pool().find(number);
  if (member == backups_.pool().end())
    return fail(path, {0, fmt::format("pool member {} is in no pool archive", number)});
  if (is_other_member(name, member->second))
    return fail(path,
                {0, fmt::format("pool member {} is another file than the one that was stored", number)});
  const auto [it, fresh] = members_.emplace(number, plan_.objects.size());
  if (fresh) {
    plan_.objects.push_back({member->second, nullptr, {}, true, false});
    place(plan_.objects.back(), path, backups_.pool_archive(member->second));
  }
  plan_.objects[it->second].names.push_back(path);
}

void Planner::add(const GuestState& state, const std::string& path, Entry entry, Groups& groups) {
  if (entry.pool != 0) return add_name_of_member(path, entry);
  if (entry.linked) {
    const auto [it, fresh] = groups.emplace(entry.group, plan_.objects.size());
    if (!fresh) return plan_.objects[it->second].names.push_back(path);
  }
  const bool file = entry.type == 'f';
  PlannedObject object{std::move(entry), nullptr, {path}, false, false};
  if (file) place(object, path, backups_.archive_of(state, object.entry));
  plan_.objects.push_back(std::move(object));
}

void Planner::place(PlannedObject& object, const std::string& path,
                    Expected<std::shared_ptr<FramedFile>> archive) {
  if (object.entry.type != 'f') return;
  if (!archive)
    fail(path, archive.error());
  else
    object.archive = *archive;
}

RestorePlan Planner::take() && {
  RestoreCounts& counts = plan_.counts;
  counts.directories = plan_.directories.size();
  for (const auto& object : plan_.objects) {
    ++(object.entry.type == 'f' ? counts.files : counts.specials);
    counts.links += object.names.size() - 1;
    if (object.entry.type == 'f') counts.bytes += object.entry.size;
  }
  // The same guest twice (two paths of it) has some twice.
  auto& directories = plan_.directories;
  std::stable_sort(directories.begin(), directories.end(),
                   [](const PlannedDirectory& a, const PlannedDirectory& b) { return a.path < b.path; });
  directories.erase(
      std::unique(directories.begin(), directories.end(),
                  [](const PlannedDirectory& a, const PlannedDirectory& b) { return a.path == b.path; }),
      directories.end());
  return std::move(plan_);
}

}  // namespace

RestorePlan plan_restore(StoredBackups& backups, const std::vector<Selection>& selections,
                         RunContext& context) {
  Planner planner(backups, context);
  for (const auto& selection : selections) planner.collect(selection);
  return std::move(planner).take();
}

}  // namespace vs::backup
