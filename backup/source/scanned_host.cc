#include "backup/source/scanned_host.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "backup/source/device_slots.h"
#include "backup/source/link_table.h"
#include "core/escape.h"
#include "core/tree/filesystem_id.h"
#include "core/tree/listing.h"
#include "core/tree/parallel_walk.h"

namespace vs::backup {

void take_stat(Inode& inode, const FileStat& stat) {
  inode.ino = stat.ino;
  inode.size = stat.size;
  inode.mtime_ns = stat.mtime_ns;
  inode.ctime_ns = stat.ctime_ns;
  inode.btime_ns = stat.btime_ns;
  inode.rdev = stat.rdev;
  inode.mode = stat.mode;
  inode.uid = stat.uid;
  inode.gid = stat.gid;
  inode.nlink = stat.nlink;
  inode.sealed = S_ISREG(stat.mode) && stat.nlink > 1 && (stat.attributes & STATX_ATTR_IMMUTABLE) != 0;
}

namespace {

// Of each root of a subvolume of btrfs; and of the empty directory that stands for one in a snapshot.
constexpr uint64_t kSubvolumeRoot = 256, kSubvolumeStub = 2;

// What the paths of a guest's names may take beyond this many bytes each, in sum. An archive, a plan of a
// restore and a comparison hold each name with its path, and a guest makes a name of a file it has for the
// price of a few bytes.
constexpr uint64_t kUsualPath = 512, kLongPathsBytes = 512 << 20;

struct Found {
  std::string name;
  InodeNumber inode = kNoInode;  // known without a stat
  uint16_t slot = 0;
  bool enter = false;  // a directory that is to be walked
  FileStat stat;
};

struct Listing {
  bool whole = false;  // false: its names are not known, or not all
  uint16_t slot = 0;
  std::vector<Found> found;
};

// One number for two, the same in each run (the finalizer of splitmix64, after each). Nothing of one guest
// meets another's by it.
uint64_t mixed_id(uint64_t id, uint64_t more) {
  uint64_t mixed = 0;
  for (const uint64_t word : {id, more}) {
    mixed += word + 0x9e3779b97f4a7c15ULL;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ULL;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebULL;
    mixed ^= mixed >> 31;
  }
  return mixed;
}

int64_t filesystem_type(int fd) {
  struct statfs fs {};
  return ::fstatfs(fd, &fs) == 0 ? static_cast<int64_t>(fs.f_type) : 0;
}

Inode row_of(const FileStat& stat) {
  Inode inode;
  take_stat(inode, stat);
  return inode;
}

class Walker {
 public:
  Walker(ScannedHost& host, const WalkOptions& options, RunContext& context)
      : host_(host), options_(options), context_(context) {}

  void run() {
    std::vector<DirectoryTask> roots;
    for (GuestNumber g; g < host_.guests.next_number(); ++g) roots.push_back(add_root(g));
    for (GuestNumber g; g < options_.mounts.next_number(); ++g)
      for (const auto& path : options_.mounts[g]) add_mount(g, path);
    walk_directories(roots, context_.cancel, [&](const DirectoryTask& task, DirReader& reader) {
      Listing listing;
      listing.whole = list(task, reader, listing);
      auto below = take(task, listing);
      context_.progress.add(listing.found.size());
      return below;
    });
    host_.subvolumes_left_out = left_out_;
  }

 private:
  static DirectoryTask task_of(GuestNumber guest, DirNumber dir, std::string path) {
    return {guest.value, dir.value, std::move(path)};
  }
  static GuestNumber guest_of(const DirectoryTask& task) { return GuestNumber(task.guest); }
  static DirNumber dir_of(const DirectoryTask& task) { return DirNumber(task.number); }

  DirectoryTask add_root(GuestNumber g) {
    const Guest& guest = host_.guests[g];
    const uint64_t given = g < options_.filesystems.next_number() ? options_.filesystems[g] : 0;
    const auto slot = devices_.slot_of(guest.root.stat().dev,
                                       [&] { return given != 0 ? given : filesystem_id(guest.root.fd()); });
    if (!slot)
      throw Error("the vservers are on too many filesystems; back them up in several runs", Exit::usage);
    on_overlay_.push_back(filesystem_type(guest.root.fd()) == OVERLAYFS_SUPER_MAGIC);
    const InodeNumber inode = add_inode(row_of(guest.root.stat()), g, *slot);
    const DirNumber dir = host_.dirs.next_number();
    host_.dirs.push_back({kNoDir, {}, inode, false, {}});
    host_.trees[g].root = host_.inodes[inode].dir = dir;
    return task_of(g, dir, "");
  }

  void add_mount(GuestNumber g, const std::string& path) {
    const Guest& guest = host_.guests[g];
    const auto fd = guest.root.open(path, O_PATH);
    const auto stat = fd ? stat_fd(fd->get(), path) : Expected<FileStat>(fd.error());
    if (!stat && stat.error().code == EXDEV) return;  // covered by a mount that is not entered
    if (!stat) return context_.log.object_failed(stat.error().message);
    devices_.slot_of(stat->dev, [&] { return filesystem_id(fd->get()); });
  }

  bool ours(GuestNumber guest, const FileStat& stat) const {
    return host_.guests[guest].root.enters(stat.mount_id);
  }

  bool failed(const Problem& problem) {
    context_.log.object_failed(problem.message);
    const std::lock_guard lock(mutex_);
    ++host_.problems;
    return false;
  }

  bool list(const DirectoryTask& task, DirReader& reader, Listing& listing) {
    const RootDir& root = host_.guests[guest_of(task)].root;
    if (depth_of(task.path) > kDeepestDirectory) return failed(too_deep(root, task.path, kDeepestDirectory));
    if (task.path.size() > kLongestDirectory) return failed(too_long(root, task.path));
    const auto dir = open_to_list(root, task.path);
    if (!dir) return is_trouble(dir.error()) ? failed(dir.error()) : false;
    if (!ours(guest_of(task), dir->stat)) return false;
    const std::string shown = root.host_path(task.path);
    const auto slot = devices_.slot_of(dir->stat.dev, [&] { return filesystem_id(dir->fd.get()); });
    if (!slot) return failed({ENOSPC, "more subvolumes than one run takes: " + escaped(shown)});
    listing.slot = *slot;
    reader.start(dir->fd.get(), shown);
    const char* const tag =
        options_.exclusion != nullptr ? tag_in(dir->fd.get(), *options_.exclusion) : nullptr;
    for (DirEntry entry; reader.next(entry);) {
      if ((tag != nullptr && entry.name != tag) || excluded(task.path, entry.name)) continue;
      Found one{std::string(entry.name), kNoInode, *slot, false, {}};
      // Not on overlayfs, where the number in a directory is not always that of the inode.
      if (entry.type == DT_REG && !on_overlay_[guest_of(task)])
        one.inode = links_.find({entry.ino, *slot}, true).value_or(kNoInode);
      if (one.inode == kNoInode && !look_at(task, *dir, entry, one)) continue;
      listing.found.push_back(std::move(one));
    }
    if (reader.problem() != nullptr && is_trouble(*reader.problem())) failed(*reader.problem());
    return afford_paths(task, listing) && reader.problem() == nullptr;
  }

  bool excluded(const std::string& dir, std::string_view name) const {
    return options_.exclusion != nullptr && !options_.exclusion->globs.empty() &&
           options_.exclusion->globs.fit(join_path(dir, name));
  }

  // False: the paths of its names are too much, together with those that this guest has already.
  bool afford_paths(const DirectoryTask& task, Listing& listing) {
    if (task.path.size() <= kUsualPath) return true;
    const uint64_t bytes = (task.path.size() - kUsualPath) * listing.found.size();
    {
      const std::lock_guard lock(mutex_);
      uint64_t& taken = long_paths_[guest_of(task)];
      if (bytes <= kLongPathsBytes - taken) {
        taken += bytes;
        return true;
      }
    }
    listing.found.clear();
    return failed(
        {ENAMETOOLONG, fmt::format("the long paths of this vserver take more than {} MiB, not entered: {}",
                                   kLongPathsBytes >> 20,
                                   escaped(shown_path(host_.guests[guest_of(task)].root, task.path)))});
  }

  // False: it is gone, or not the guest's own.
  bool look_at(const DirectoryTask& task, const OpenDirectory& dir, const DirEntry& entry, Found& one) {
    const auto shown = [&] {
      return host_.guests[guest_of(task)].root.host_path(join_path(task.path, entry.name));
    };
    const auto stat = stat_at(dir.fd.get(), entry.name.data(), shown());
    if (!stat) {
      if (is_trouble(stat.error())) failed(stat.error());
      return false;
    }
    one.stat = *stat;
    // A mount inside of a guest, a file mounted over a file included, is not the guest's own; a directory
    // stands as an empty one.
    if (!ours(guest_of(task), *stat)) return S_ISDIR(stat->mode);
    if (S_ISDIR(stat->mode)) {
      const bool subvolume = stat->ino == kSubvolumeRoot && stat->dev != dir.stat.dev;
      one.enter = options_.subvolumes || !subvolume;
      if (!one.enter) ++left_out_;
      if (stat->ino == kSubvolumeStub && filesystem_type(dir.fd.get()) == BTRFS_SUPER_MAGIC)
        failed({ENODATA, escaped(shown()) +
                             " is a subvolume of its own, which the snapshot that is read does not hold; "
                             "--consistency live or frozen reads it"});
      return true;
    }
    if (stat->dev == dir.stat.dev) return true;
    // A layer of overlayfs. Its device number is worth nothing in another run, but what is known of an inode
    // is believed by its times too.
    const auto slot =
        devices_.slot_of(stat->dev, [&] { return mixed_id(filesystem_id(dir.fd.get()), stat->dev); });
    if (!slot) return failed({ENOSPC, "more filesystems than one run takes: " + escaped(shown())});
    one.slot = *slot;
    return true;
  }

  std::vector<DirectoryTask> take(const DirectoryTask& task, Listing& listing) {
    auto& found = listing.found;
    std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.name < b.name; });
    std::vector<DirectoryTask> subdirs;
    const GuestNumber guest = guest_of(task);
    const std::lock_guard lock(mutex_);
    DirNode& node = host_.dirs[dir_of(task)];
    node.listed = listing.whole;
    host_.inodes[node.inode].slot = listing.slot;  // of a subvolume's root another than its parent's
    node.children.reserve(found.size());
    ++host_.directories;
    host_.names += found.size();
    for (const auto& one : found) {
      const NameNumber name = host_.texts->add(one.name);
      const bool dir = one.inode == kNoInode && S_ISDIR(one.stat.mode);
      const InodeNumber inode = one.inode != kNoInode ? one.inode
                                : dir                 ? add_inode(row_of(one.stat), guest, one.slot)
                                                      : inode_of(one.stat, guest, one.slot);
      Inode& row = host_.inodes[inode];
      ++row.names;
      if (row.guest != guest) row.shared = true;
      node.children.push_back({name, inode});
      if (!dir) continue;
      row.dir = host_.dirs.next_number();
      host_.dirs.push_back({dir_of(task), name, inode, false, {}});
      if (one.enter) subdirs.push_back(task_of(guest, row.dir, join_path(task.path, one.name)));
    }
    return subdirs;
  }

  InodeNumber inode_of(const FileStat& stat, GuestNumber guest, uint16_t slot) {
    if (stat.nlink <= 1) return add_inode(row_of(stat), guest, slot);
    const InodeNumber known = links_.find({stat.ino, slot}, false).value_or(kNoInode);
    // A socket is nothing but its name, and the pool cannot hold it: those of several guests are told apart.
    const bool apart = known != kNoInode && S_ISSOCK(stat.mode) && host_.inodes[known].guest != guest;
    if (apart) return add_inode(row_of(stat), guest, slot);
    if (known != kNoInode) return known;
    const InodeNumber inode = add_inode(row_of(stat), guest, slot);
    links_.add({stat.ino, slot}, inode, host_.inodes[inode].sealed);
    return inode;
  }

  // What is mounted in a guest and not entered has a place in the list of its directory, and no content: that
  // it has its directory's slot does not matter.
  InodeNumber add_inode(Inode inode, GuestNumber guest, uint16_t slot) {
    inode.guest = guest;
    inode.slot = slot;
    inode.shared = inode.sealed;
    const InodeNumber number = host_.inodes.next_number();
    host_.inodes.push_back(inode);
    return number;
  }

  ScannedHost& host_;
  const WalkOptions& options_;
  RunContext& context_;
  DeviceSlots devices_{host_.devices, host_.filesystems};
  TypedBits<GuestNumber> on_overlay_;
  std::map<GuestNumber, uint64_t> long_paths_;  // bytes of paths beyond kUsualPath
  LinkTable links_;
  std::atomic<uint64_t> left_out_ = 0;
  std::mutex mutex_;
};

// Where each inode's first name is, in the order in which archives are written; the walk met them in any
// order.
void find_first_names(ScannedHost& host) {
  TypedBits<InodeNumber> seen(host.inodes.size());
  for (GuestNumber g; g < host.guests.next_number(); ++g) {
    std::vector<DirNumber> stack{host.trees[g].root};
    while (!stack.empty()) {
      const DirNumber dir = stack.back();
      stack.pop_back();
      const auto& children = host.dirs[dir].children;
      for (const auto& child : children) {
        Inode& inode = host.inodes[child.inode];
        if (is_dir(inode) || seen[child.inode]) continue;
        seen[child.inode] = true;
        inode.guest = g;
        inode.dir = dir;
        inode.name = child.name;
      }
      for (auto it = children.rbegin(); it != children.rend(); ++it)
        if (is_dir(host.inodes[it->inode])) stack.push_back(host.inodes[it->inode].dir);
    }
  }
}

}  // namespace

bool is_dir(const Inode& inode) {
  return S_ISDIR(inode.mode);
}
bool is_file(const Inode& inode) {
  return S_ISREG(inode.mode);
}
bool is_socket(const Inode& inode) {
  return S_ISSOCK(inode.mode);
}

char type_letter(uint32_t mode) {
  return S_ISREG(mode)    ? 'f'
         : S_ISDIR(mode)  ? 'd'
         : S_ISLNK(mode)  ? 'l'
         : S_ISFIFO(mode) ? 'p'
         : S_ISSOCK(mode) ? 's'
         : S_ISCHR(mode)  ? 'c'
                          : 'b';
}

std::string ScannedHost::dir_path(GuestNumber guest, DirNumber dir) const {
  std::string path;
  std::vector<DirNumber> chain;
  for (; dir != kNoDir && dirs[dir].parent != kNoDir; dir = dirs[dir].parent) chain.push_back(dir);
  for (auto it = chain.rbegin(); it != chain.rend(); ++it)
    path = join_path(path, trees[guest].name(dirs[*it].name));
  return path;
}

std::string ScannedHost::first_path(const Inode& inode) const {
  if (is_dir(inode)) return dir_path(inode.guest, inode.dir);
  return join_path(dir_path(inode.guest, inode.dir), trees[inode.guest].name(inode.name));
}

bool ScannedHost::is_inode(const Inode& scanned, const FileStat& stat) const {
  return stat.ino == scanned.ino && stat.dev == devices[scanned.slot] && stat.btime_ns == scanned.btime_ns;
}

uint64_t ScannedHost::group_of(const Inode& inode) const {
  const bool inside = inode.slot != inodes[dirs[trees[inode.guest].root].inode].slot;
  return inside ? mixed_id(filesystems[inode.slot], inode.ino) : inode.ino;
}

void walk(ScannedHost& host, const WalkOptions& options, RunContext& context) {
  host.trees.assign(host.guests.size(), {kNoDir, host.texts.get()});
  Walker(host, options, context).run();
  find_first_names(host);
}

}  // namespace vs::backup
