#include "unify/scan/scanner.h"

#include <dirent.h>
#include <fcntl.h>
#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for_each.h>

#include <algorithm>
#include <mutex>

namespace vs {
namespace {

struct DirTask {
  uint32_t guest;
  std::string path;
};

// Gone or replaced since its parent was listed: nothing to report, the guest is alive.
bool vanished(const Problem& problem) {
  return problem.code == ENOENT || problem.code == ENOTDIR || problem.code == ELOOP || problem.code == ESTALE;
}

size_t depth(std::string_view path) {
  return static_cast<size_t>(std::count(path.begin(), path.end(), '/')) + 1;
}

void take_file(const DirEntry& entry, int dir_fd, const std::string& shown, DirectoryVisitor& visitor,
               DirListing& listing) {
  const auto note = visitor.wants(entry);
  if (!note) return;
  const auto stat = stat_at(dir_fd, entry.name.data(), shown);
  if (!stat) {
    if (!vanished(stat.error())) listing.problems.push_back(stat.error());
    return;
  }
  if (!S_ISREG(stat->mode) || !visitor.keep(entry, *stat)) return;
  FileRow row = row_of(*stat);
  row.note = *note;
  listing.rows.emplace_back(row, std::string(entry.name));
}

}  // namespace

DirListing list_directory(const Guest& guest, uint32_t guest_number, const std::string& path,
                          ScanVisitor& visitor, DirReader& reader) {
  DirListing listing;
  const auto fail = [&](const Problem& problem) {
    if (!vanished(problem) && problem.code != EXDEV) listing.problems.push_back(problem);
  };
  if (depth(path) > kMaxDepth) {
    listing.problems.push_back({ELOOP, "deeper than " + std::to_string(kMaxDepth) +
                                           " directories, not entered: below " + guest.name});
    return listing;
  }
  const auto fd = guest.root.open(path, O_RDONLY | O_DIRECTORY | O_NOATIME);
  if (!fd) return fail(fd.error()), listing;
  const auto stat = stat_fd(fd->get(), guest.root.path());
  if (!stat) return fail(stat.error()), listing;
  // The walk without openat2 and btrfs subvolumes: another filesystem is another mount for us.
  if (stat->dev != guest.root.stat().dev) return listing;
  const auto directory = visitor.enter(guest_number, path, *stat);
  if (!directory) return listing;
  const std::string shown = guest.root.host_path(path);
  reader.start(fd->get(), shown);
  for (DirEntry entry; reader.next(entry);) {
    ++listing.entries;
    uint8_t type = entry.type;
    if (type == DT_UNKNOWN) {
      const auto found = stat_at(fd->get(), entry.name.data(), shown);
      if (!found) continue;
      type = S_ISDIR(found->mode) ? DT_DIR : S_ISREG(found->mode) ? DT_REG : DT_LNK;
    }
    if (type == DT_DIR) {
      listing.subdirs.push_back(join_path(path, entry.name));
    } else if (type == DT_REG) {
      take_file(entry, fd->get(), shown, *directory, listing);
    }
  }
  if (reader.problem() != nullptr) listing.problems.push_back(*reader.problem());
  return listing;
}

ScanCounts scan_trees(std::span<const Guest> guests, ScanVisitor& visitor, FileTable& table,
                      RunContext& context) {
  ScanCounts counts;
  std::mutex mutex;
  tbb::enumerable_thread_specific<DirReader> readers;
  const auto merge = [&](const DirTask& task, DirListing& listing) {
    for (const auto& problem : listing.problems) context.log.object_failed(problem.message);
    const std::lock_guard guard(mutex);
    ++counts.directories;
    counts.entries += listing.entries;
    counts.problems += listing.problems.size();
    if (listing.rows.empty()) return;
    const uint32_t dir = table.add_dir(task.guest, task.path);
    for (const auto& [row, name] : listing.rows) table.add_row(row, dir, name);
  };
  std::vector<DirTask> roots;
  for (uint32_t i = 0; i < guests.size(); ++i) roots.push_back({i, ""});
  tbb::parallel_for_each(roots.begin(), roots.end(), [&](const DirTask& task, tbb::feeder<DirTask>& feeder) {
    if (context.cancel.stop()) return;
    DirListing listing = list_directory(guests[task.guest], task.guest, task.path, visitor, readers.local());
    for (auto& path : listing.subdirs) feeder.add({task.guest, std::move(path)});
    merge(task, listing);
    context.progress.add(listing.entries);
  });
  table.sort();
  return counts;
}

}  // namespace vs
