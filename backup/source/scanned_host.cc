#include "backup/source/scanned_host.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/statfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "core/escape.h"
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

// One byte an inode says which.
constexpr size_t kMostFilesystems = 250;

struct Found {
  std::string name;
  uint32_t inode = kNoRow;  // known without a stat
  FileStat stat;
};

// Which inode number is which row, for files with several names. Read by every entry, written once an inode.
class LinkTable {
 public:
  // `sealed_only`: what may be known without a stat.
  uint32_t find(uint8_t slot, uint64_t ino, bool sealed_only) const {
    const Shard& shard = shards_[ino % kShards];
    const std::shared_lock lock(shard.mutex);
    const auto it = shard.rows.find(ino << 8 | slot);
    return it == shard.rows.end() || (sealed_only && !it->second.sealed) ? kNoRow : it->second.inode;
  }
  void add(uint8_t slot, uint64_t ino, uint32_t inode, bool sealed) {
    Shard& shard = shards_[ino % kShards];
    const std::unique_lock lock(shard.mutex);
    shard.rows.emplace(ino << 8 | slot, Row{inode, sealed});
  }

 private:
  static constexpr size_t kShards = 64;
  struct Row {
    uint32_t inode;
    bool sealed;
  };
  struct Shard {
    mutable std::shared_mutex mutex;
    std::unordered_map<uint64_t, Row> rows;
  };
  std::array<Shard, kShards> shards_;
};

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
    for (uint32_t g = 0; g < host_.guests.size(); ++g) roots.push_back(add_root(g));
    // All filesystems are known before anything is walked: so their order is the same in each run.
    for (uint32_t g = 0; g < options_.mounts.size(); ++g)
      for (const auto& path : options_.mounts[g]) add_mount(g, path);
    walk_directories(roots, context_.cancel, [&](const DirectoryTask& task, DirReader& reader) {
      std::vector<Found> found;
      const bool listed = list(task, reader, found);
      auto below = take(task, found, listed);
      context_.progress.add(found.size());
      return below;
    });
  }

 private:
  DirectoryTask add_root(uint32_t g) {
    const Guest& guest = host_.guests[g];
    const uint64_t given = g < options_.filesystems.size() ? options_.filesystems[g] : 0;
    add_device(guest.root.stat().dev, given != 0 ? given : filesystem_id(guest.root.fd()));
    const uint32_t inode = add_inode(row_of(guest.root.stat()), g, guest.root.stat().dev);
    host_.dirs.push_back({kNoRow, 0, inode, false, {}});
    const auto dir = static_cast<uint32_t>(host_.dirs.size() - 1);
    host_.trees[g].root = host_.inodes[inode].dir = dir;
    return {g, dir, ""};
  }

  void add_device(uint64_t dev, uint64_t id) {
    if (slot_of(dev) < devices_.size()) return;
    devices_.push_back(dev);
    host_.filesystems.push_back(id);
    if (devices_.size() > kMostFilesystems)
      throw Error("the vservers are on more than 250 filesystems or subvolumes; back them up in several runs",
                  Exit::usage);
  }

  void add_mount(uint32_t g, const std::string& path) {
    const Guest& guest = host_.guests[g];
    const auto fd = guest.root.open(path, O_PATH);
    const auto stat = fd ? stat_fd(fd->get(), path) : Expected<FileStat>(fd.error());
    if (!stat && stat.error().code == EXDEV) return;  // covered by a mount that is not entered
    if (!stat) return context_.log.object_failed(stat.error().message);
    add_device(stat->dev, filesystem_id(fd->get()));
  }

  // devices_.size() for one that is none of ours. They are few.
  size_t slot_of(uint64_t dev) const {
    return static_cast<size_t>(std::find(devices_.begin(), devices_.end(), dev) - devices_.begin());
  }
  bool ours(uint32_t guest, const FileStat& stat) const {
    return host_.guests[guest].root.enters(stat.mount_id) && slot_of(stat.dev) < devices_.size();
  }

  bool failed(const Problem& problem) {
    context_.log.object_failed(problem.message);
    const std::lock_guard lock(mutex_);
    ++host_.problems;
    return false;
  }

  // False: its names are not known, or not all.
  bool list(const DirectoryTask& task, DirReader& reader, std::vector<Found>& found) {
    const RootDir& root = host_.guests[task.guest].root;
    if (depth_of(task.path) > kDeepestDirectory) return failed(too_deep(root, task.path, kDeepestDirectory));
    const auto dir = open_to_list(root, task.path);
    if (!dir) return is_trouble(dir.error()) ? failed(dir.error()) : false;
    if (!ours(task.guest, dir->stat)) return false;
    const auto slot = static_cast<uint8_t>(slot_of(dir->stat.dev));
    const std::string shown = root.host_path(task.path);
    reader.start(dir->fd.get(), shown);
    for (DirEntry entry; reader.next(entry);) {
      if (!options_.excludes.empty() && excluded(options_.excludes, join_path(task.path, entry.name)))
        continue;
      Found one{std::string(entry.name), kNoRow, {}};
      if (entry.type == DT_REG) one.inode = links_.find(slot, entry.ino, true);
      if (one.inode == kNoRow) {
        const auto found_stat = stat_at(dir->fd.get(), entry.name.data(), shown);
        if (!found_stat) {
          if (is_trouble(found_stat.error())) failed(found_stat.error());
          continue;
        }
        // A mount inside of a guest, a file mounted over a file included, is not the guest's own; a directory
        // stands as an empty one.
        if (!ours(task.guest, *found_stat) && !S_ISDIR(found_stat->mode)) continue;
        one.stat = *found_stat;
      }
      found.push_back(std::move(one));
    }
    if (reader.problem() != nullptr && is_trouble(*reader.problem())) failed(*reader.problem());
    return reader.problem() == nullptr;
  }

  std::vector<DirectoryTask> take(const DirectoryTask& task, std::vector<Found>& found, bool listed) {
    std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.name < b.name; });
    std::vector<DirectoryTask> subdirs;
    const std::lock_guard lock(mutex_);
    DirNode& node = host_.dirs[task.number];
    node.listed = listed;
    node.children.reserve(found.size());
    ++host_.directories;
    host_.names += found.size();
    for (const auto& one : found) {
      const uint32_t name = host_.texts->add(one.name);
      const bool dir = one.inode == kNoRow && S_ISDIR(one.stat.mode);
      const uint32_t inode = one.inode != kNoRow ? one.inode
                             : dir               ? add_inode(row_of(one.stat), task.guest, one.stat.dev)
                                                 : inode_of(one.stat, task.guest);
      Inode& row = host_.inodes[inode];
      ++row.names;
      if (row.guest != task.guest) row.shared = true;
      node.children.push_back({name, inode});
      if (!dir) continue;
      host_.dirs.push_back({task.number, name, inode, false, {}});
      row.dir = static_cast<uint32_t>(host_.dirs.size() - 1);
      if (ours(task.guest, one.stat))
        subdirs.push_back({task.guest, row.dir, join_path(task.path, one.name)});
    }
    return subdirs;
  }

  uint32_t inode_of(const FileStat& stat, uint32_t guest) {
    if (stat.nlink <= 1) return add_inode(row_of(stat), guest, stat.dev);
    const auto slot = static_cast<uint8_t>(slot_of(stat.dev));
    const uint32_t known = links_.find(slot, stat.ino, false);
    if (known != kNoRow) return known;
    const uint32_t inode = add_inode(row_of(stat), guest, stat.dev);
    links_.add(slot, stat.ino, inode, host_.inodes[inode].sealed);
    return inode;
  }

  uint32_t add_inode(Inode inode, uint32_t guest, uint64_t dev) {
    inode.guest = guest;
    // What is mounted in a guest and not entered has a place in the list of its directory, and no content:
    // any will do.
    inode.slot = static_cast<uint8_t>(std::min(slot_of(dev), devices_.size() - 1));
    inode.shared = inode.sealed;
    host_.inodes.push_back(inode);
    return static_cast<uint32_t>(host_.inodes.size() - 1);
  }

  ScannedHost& host_;
  const WalkOptions& options_;
  RunContext& context_;
  std::vector<uint64_t> devices_;  // by slot
  LinkTable links_;
  std::mutex mutex_;
};

// Where each inode's first name is, in the order in which archives are written; the walk met them in any
// order.
void find_first_names(ScannedHost& host) {
  std::vector<bool> seen(host.inodes.size());
  for (uint32_t g = 0; g < host.guests.size(); ++g) {
    std::vector<uint32_t> stack{host.trees[g].root};
    while (!stack.empty()) {
      const uint32_t dir = stack.back();
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

uint64_t filesystem_id(int fd) {
  struct statfs fs;
  uint64_t id = 0;
  static_assert(sizeof fs.f_fsid == sizeof id);
  if (::fstatfs(fd, &fs) == 0) std::memcpy(&id, &fs.f_fsid, sizeof id);
  if (id != 0) return id;
  const auto stat = stat_fd(fd, "");
  return stat ? stat->dev : 0;
}

bool is_dir(const Inode& inode) {
  return S_ISDIR(inode.mode);
}
bool is_file(const Inode& inode) {
  return S_ISREG(inode.mode);
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

bool excluded(const std::vector<std::string>& globs, const std::string& path) {
  for (const auto& glob : globs) {
    const bool anywhere = glob.find('/') == std::string::npos;
    const std::string text = anywhere ? std::string(split_path(path).second) : path;
    const char* pattern = glob.c_str() + (glob[0] == '/' ? 1 : 0);
    if (::fnmatch(pattern, text.c_str(), FNM_PATHNAME) == 0) return true;
  }
  return false;
}

std::string ScannedHost::dir_path(uint32_t guest, uint32_t dir) const {
  std::string path;
  std::vector<uint32_t> chain;
  for (; dir != kNoRow && dirs[dir].parent != kNoRow; dir = dirs[dir].parent) chain.push_back(dir);
  for (auto it = chain.rbegin(); it != chain.rend(); ++it)
    path = join_path(path, trees[guest].name(dirs[*it].name));
  return path;
}

std::string ScannedHost::first_path(const Inode& inode) const {
  if (is_dir(inode)) return dir_path(inode.guest, inode.dir);
  return join_path(dir_path(inode.guest, inode.dir), trees[inode.guest].name(inode.name));
}

uint64_t ScannedHost::group_of(const Inode& inode) const {
  const bool inside = inode.slot != inodes[dirs[trees[inode.guest].root].inode].slot;
  return inside ? inode.ino ^ (uint64_t{inode.slot} + 1) << 56 : inode.ino;
}

void walk(ScannedHost& host, const WalkOptions& options, RunContext& context) {
  host.trees.assign(host.guests.size(), {kNoRow, host.texts.get()});
  Walker(host, options, context).run();
  find_first_names(host);
}

}  // namespace vs::backup
