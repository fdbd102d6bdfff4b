#include "unify/scan/scanner.h"

#include <dirent.h>
#include <sys/stat.h>

#include <mutex>

#include "core/tree/listing.h"
#include "core/tree/parallel_walk.h"

namespace vs {
namespace {

void take_file(const DirEntry& entry, int dir_fd, const std::string& shown, DirectoryVisitor& visitor,
               DirListing& listing) {
  const auto tag = visitor.wants(entry);
  if (!tag) return;
  const auto stat = stat_at(dir_fd, entry.name.data(), shown);
  if (!stat) {
    if (!vanished(stat.error())) listing.problems.push_back(stat.error());
    return;
  }
  if (!S_ISREG(stat->mode) || !visitor.keep(entry, *stat)) return;
  FileRow row = row_of(*stat);
  row.tag = *tag;
  listing.rows.emplace_back(row, std::string(entry.name));
}

}  // namespace

DirListing list_directory(const Guest& guest, GuestNumber guest_number, const std::string& path,
                          ScanVisitor& visitor, DirReader& reader) {
  DirListing listing;
  if (depth_of(path) > kDeepestDirectory) {
    listing.problems.push_back(too_deep(guest.root, path, kDeepestDirectory));
    return listing;
  }
  const auto dir = open_to_list(guest.root, path);
  if (!dir) {
    if (is_trouble(dir.error())) listing.problems.push_back(dir.error());
    return listing;
  }
  // The walk without openat2 and btrfs subvolumes: another filesystem is another mount for us.
  if (dir->stat.dev != guest.root.stat().dev) return listing;
  const auto directory = visitor.enter(guest_number, path, dir->stat);
  if (!directory) return listing;
  const std::string shown = guest.root.host_path(path);
  reader.start(dir->fd.get(), shown);
  for (DirEntry entry; reader.next(entry);) {
    ++listing.entries;
    const uint8_t type = type_of(entry, dir->fd.get());
    if (type == DT_DIR) {
      listing.subdirs.push_back(join_path(path, entry.name));
    } else if (type == DT_REG) {
      take_file(entry, dir->fd.get(), shown, *directory, listing);
    }
  }
  if (reader.problem() != nullptr) listing.problems.push_back(*reader.problem());
  return listing;
}

ScanCounts scan_trees(Guests guests, ScanVisitor& visitor, FileTable& table, RunContext& context) {
  ScanCounts counts;
  std::mutex mutex;
  const auto merge = [&](const DirectoryTask& task, DirListing& listing) {
    for (const auto& problem : listing.problems) context.log.object_failed(problem.message);
    const std::lock_guard guard(mutex);
    ++counts.directories;
    counts.entries += listing.entries;
    counts.problems += listing.problems.size();
    if (listing.rows.empty()) return;
    const DirNumber dir = table.add_dir(GuestNumber(task.guest), task.path);
    for (const auto& [row, name] : listing.rows) table.add_row(row, dir, name);
  };
  std::vector<DirectoryTask> roots;
  for (GuestNumber i; i < guests.next_number(); ++i) roots.push_back({i.value, 0, ""});
  walk_directories(roots, context.cancel, [&](const DirectoryTask& task, DirReader& reader) {
    DirListing listing =
        list_directory(guests[GuestNumber(task.guest)], GuestNumber(task.guest), task.path, visitor, reader);
    std::vector<DirectoryTask> below;
    below.reserve(listing.subdirs.size());
    for (auto& path : listing.subdirs) below.push_back({task.guest, 0, std::move(path)});
    merge(task, listing);
    context.progress.add(listing.entries);
    return below;
  });
  table.sort();
  return counts;
}

}  // namespace vs
