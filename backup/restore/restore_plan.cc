#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#include "backup/archive/host_tree.h"
#include "backup/restore/restore_work.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

// Which paths of a guest are wanted, by the globs: what fits, with all below it. Asked for a directory before
// what is in it.
class WantedPaths {
 public:
  explicit WantedPaths(const RestoreOptions& options) : options_(options) {}
  bool wanted(const std::string& path) { return state_of(path) == State::in; }
  // The same, and what is below goes by it.
  bool wanted_directory(const std::string& path) {
    const State state = state_of(path);
    directories_[path] = state;
    return state == State::in;
  }

 private:
  enum class State { not_yet, in, out };
  static bool has(const PathGlobs* globs) { return globs != nullptr && !globs->empty(); }
  State state_of(const std::string& path) const {
    const auto above = path.empty() ? directories_.end() : directories_.find(split_path(path).first);
    State state = above != directories_.end() ? above->second
                  : has(options_.include)     ? State::not_yet
                                              : State::in;
    if (state == State::out || (has(options_.exclude) && options_.exclude->fit(path))) return State::out;
    if (has(options_.include) && options_.include->fit(path)) state = State::in;
    return state;
  }
  const RestoreOptions& options_;
  std::map<std::string, State, std::less<>> directories_;
};

class Planner {
 public:
  Planner(StoredBackups& backups, const RestoreOptions& options, RunContext& context)
      : backups_(backups), options_(options), context_(context) {}
  void collect(const Selection& selection);
  RestorePlan take() &&;

 private:
  using Groups = std::unordered_map<uint64_t, size_t>;  // link group -> object; of one guest
  void collect_directory(const GuestState& state, const Selection& selection, const std::string& path,
                         const std::string& bytes, WantedPaths& wanted, Groups& groups);
  void drop_ways_to_nothing();
  void add(const GuestState& state, const std::string& path, Entry entry, Groups& groups);
  void add_name_of_member(const std::string& path, const Entry& name);
  void place(PlannedObject& object, const std::string& path, Expected<std::shared_ptr<FramedFile>> archive);
  void fail(const std::string& path, const Problem& problem) {
    context_.log.object_failed(fmt::format("{}: {}", escaped(path), problem.message));
  }

  StoredBackups& backups_;
  const RestoreOptions& options_;
  RunContext& context_;
  RestorePlan plan_;
  std::unordered_map<uint64_t, size_t> members_;  // pool number -> object
  std::set<std::string, std::less<>> ways_to_objects_;
};

void Planner::collect(const Selection& selection) {
  auto loaded = backups_.state(selection.guest, selection.limit());
  if (!loaded) throw Error(loaded.error().message, Exit::usage);
  const GuestState state = std::move(*loaded);
  plan_.identity += fmt::format("{}@{}:{} as {}\n", selection.guest, state.stamp, escaped(selection.path),
                                escaped(selection.name()));
  if (const auto found = find_entry(state, backups_.pool(), selection.path); !found)
    throw Error(found.error().message, Exit::usage);
  ++(is_host_tree(selection.guest) ? plan_.counts.host_trees : plan_.counts.guests);
  Groups groups;
  static const RestoreOptions kAll;
  WantedPaths wanted(selection.added ? kAll : options_);
  for (const auto& [path, bytes] : state.dirs)
    collect_directory(state, selection, path, bytes, wanted, groups);
}

void Planner::collect_directory(const GuestState& state, const Selection& selection, const std::string& path,
                                const std::string& bytes, WantedPaths& wanted, Groups& groups) {
  const auto [holder, wanted_name] = split_path(selection.path);
  const bool inside =
      selection.path.empty() || path == selection.path || path.starts_with(selection.path + "/");
  // Directories on the way to it are made with their own attributes.
  const bool above = path.empty() || selection.path.starts_with(path + "/");
  const bool holds = !state.dirs.contains(selection.path) && path == holder;
  if (!inside && !above && !holds) return;
  const std::string full = join_path(selection.name(), path);
  std::vector<Entry> entries;
  if (!decode_dir(bytes, entries)) return fail(full, {0, "its record in the catalog makes no sense"});
  const bool way = !wanted.wanted_directory(path);
  plan_.directories.push_back({full, std::move(entries.front()), way});
  for (size_t i = 1; i < entries.size(); ++i) {
    Entry& entry = entries[i];
    if (entry.type == 'd' || (!inside && !(holds && entry.name == wanted_name))) continue;
    const std::string below = join_path(path, entry.name), name = join_path(full, entry.name);
    if (!wanted.wanted(below)) continue;
    if (way) ways_to_objects_.insert(full);
    add(state, name, std::move(entry), groups);
  }
}

void Planner::add_name_of_member(const std::string& path, const Entry& name) {
  const uint64_t number = name.pool;
  auto member = member_of(name, backups_.pool());
  if (!member) return fail(path, member.error());
  const auto [it, fresh] = members_.emplace(number, plan_.objects.size());
  if (fresh) {
    plan_.objects.push_back({*member, nullptr, {}, true, false});
    place(plan_.objects.back(), path, backups_.pool_archive(*member));
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
  drop_ways_to_nothing();
  RestoreCounts& counts = plan_.counts;
  counts.directories = plan_.directories.size();
  for (const auto& object : plan_.objects) {
    ++(object.entry.type == 'f' ? counts.files : counts.specials);
    counts.links += object.names.size() - 1;
    if (object.entry.type == 'f') counts.bytes += object.entry.size;
  }
  return std::move(plan_);
}

// Sorts the directories, each once: the same guest twice (two paths of it) has some twice. Those that stand
// for what is in them, of which nothing is wanted, go.
void Planner::drop_ways_to_nothing() {
  auto& directories = plan_.directories;
  std::stable_sort(directories.begin(), directories.end(),
                   [](const PlannedDirectory& a, const PlannedDirectory& b) {
                     return std::tie(a.path, a.way) < std::tie(b.path, b.way);
                   });
  directories.erase(
      std::unique(directories.begin(), directories.end(),
                  [](const PlannedDirectory& a, const PlannedDirectory& b) { return a.path == b.path; }),
      directories.end());
  auto& needed = ways_to_objects_;
  for (auto it = directories.rbegin(); it != directories.rend(); ++it) {
    if (it->way && !needed.contains(it->path)) continue;
    it->way = false;
    needed.emplace(split_path(it->path).first);
  }
  std::erase_if(directories, [](const PlannedDirectory& directory) { return directory.way; });
}

}  // namespace

RestorePlan plan_restore(StoredBackups& backups, const std::vector<Selection>& selections,
                         const RestoreOptions& options, RunContext& context) {
  Planner planner(backups, options, context);
  for (const auto& selection : selections) planner.collect(selection);
  return std::move(planner).take();
}

}  // namespace vs::backup
