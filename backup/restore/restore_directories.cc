// The passes of a restore over directories and names: made, linked, given their attributes and flags, put in
// place.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>

#include "backup/restore/restore_work.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

bool is_top(const PlannedDirectory& directory) {
  return directory.path.find('/') == std::string::npos;
}

bool has_late_flags(const Entry& entry) {
  return (entry.flags & kLateFlags) != 0;
}

void finish_directory(const RestoreWork& work, const RootDir& root, const PlannedDirectory& directory) {
  const auto fd = root.open(directory.path, O_RDONLY | O_DIRECTORY);
  if (!fd)
    work.fail(work.shown(directory.path), fd.error());
  else
    give_attributes(work, fd->get(), directory.entry, directory.path);
}

void flag_directory(const RestoreWork& work, const RootDir& root, const PlannedDirectory& directory) {
  const auto fd = root.open(directory.path, O_RDONLY | O_DIRECTORY);
  work.check(work.shown(directory.path),
             fd ? write_flags(fd->get(), directory.entry.flags, kLateFlags, work.shown(directory.path))
                : Result(fd.error()));
}

}  // namespace

void make_directories(const RestorePlan& plan, const RestoreWork& work) {
  ParentDirs parents(work.root);
  for (const auto& directory : plan.directories) {
    const std::string& path = directory.path;
    const auto parent = parents.of(path);
    if (!parent) {
      work.fail(work.shown(path), parent.error());
      continue;
    }
    const std::string name(split_path(path).second);
    // What a killed run of this very command could not remove is taken over: it holds names of live
    // masters.
    if (::mkdirat(*parent, name.c_str(), 0700) != 0 && !(errno == EEXIST && work.options.link_store))
      work.fail(work.shown(path), problem_from_errno("create directory", work.shown(path)));
  }
}

void make_links(const RestorePlan& plan, const RestoreWork& work) {
  ParentDirs from(work.root), to(work.root);
  for (const auto& object : plan.objects) {
    if (!object.made) continue;
    size_t source = 0;
    for (size_t i = 1; i < object.names.size(); ++i) {
      const auto a = from.of(object.names[source]);
      const auto b = to.of(object.names[i]);
      const std::string first(split_path(object.names[source]).second),
          name(split_path(object.names[i]).second);
      if (a && b && ::linkat(*a, first.c_str(), *b, name.c_str(), 0) == 0) continue;
      work.fail(
          work.shown(object.names[i]),
          !a   ? a.error()
          : !b ? b.error()
               : problem_from_errno("link to " + escaped(object.names[source]), work.shown(object.names[i])));
    }
  }
}

// All but the vservers' own, which get theirs in their place: a directory of another project than the target
// could not be renamed.
void finish_directories(const RestorePlan& plan, const RestoreWork& work) {
  for (auto it = plan.directories.rbegin(); it != plan.directories.rend(); ++it)
    if (!is_top(*it)) finish_directory(work, work.root, *it);
}

// May be the second time, of a killed run: what is immutable already has all its flags, and may be a live
// master.
void set_flags(const RestorePlan& plan, const RestoreWork& work) {
  std::map<std::string, const RootDir*> places;
  for (const auto& directory : plan.directories)
    if (is_top(directory)) places[directory.path] = &work.place.place_of(directory.path);
  const auto root_of = [&](const std::string& path) {
    const auto it = places.find(path.substr(0, path.find('/')));
    return it == places.end() ? &work.root : it->second;
  };
  for (const auto& object : plan.objects) {
    if (!has_late_flags(object.entry) || object.entry.type != 'f' ||
        (!object.made && !work.place.was_complete()))
      continue;
    const std::string& path = object.names.front();
    FileStat stat;
    const auto fd = root_of(path)->open_regular(path, &stat);
    if (work.place.was_complete() && (!fd || (stat.attributes & STATX_ATTR_IMMUTABLE) != 0)) continue;
    work.check(work.shown(path), fd ? write_flags(fd->get(), object.entry.flags, kLateFlags, work.shown(path))
                                    : Result(fd.error()));
  }
  for (auto it = plan.directories.rbegin(); it != plan.directories.rend(); ++it)
    if (has_late_flags(it->entry) && !is_top(*it)) flag_directory(work, *root_of(it->path), *it);
}

void put_in_place(const RestorePlan& plan, const std::vector<Selection>& selections,
                  const RestoreWork& work) {
  for (const auto& selection : selections) ok_or_throw(work.place.put(selection.name()));
  for (const auto& directory : plan.directories) {
    if (!is_top(directory)) continue;
    const auto stat = stat_at(work.place.target().fd(), directory.path.c_str(), work.shown(directory.path));
    // A killed run of this command came as far as this.
    if (work.place.was_complete() && stat &&
        (stat->attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) != 0)
      continue;
    finish_directory(work, work.place.target(), directory);
    if (has_late_flags(directory.entry)) flag_directory(work, work.place.target(), directory);
  }
  work.place.finish();
}

}  // namespace vs::backup
