#include "unify/disk_usage.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <limits>
#include <memory>
#include <unordered_map>

#include "core/dir_reader.h"
#include "core/escape.h"
#include "core/root_dir.h"

namespace vs::unify {
namespace {

// Directories on the way down that stay open; deeper trees are climbed by "..". Few, as the limit may be 1024
// for the whole process and a guest makes its tree as deep as it likes.
constexpr size_t kOpenLevels = 64;
constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

struct InodeKey {
  uint64_t dev = 0;
  uint64_t ino = 0;
  bool operator==(const InodeKey&) const = default;
};

struct InodeKeyHash {
  // Inode numbers run in sequences and are multiples of 2^n on some filesystems: mix all bits (splitmix64).
  size_t operator()(const InodeKey& key) const {
    uint64_t x = key.ino + key.dev * 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }
};

InodeKey key_of(const FileStat& stat) {
  return {stat.dev, stat.ino};
}

// ---- counting ----

// What was seen of one inode so far. Blocks are those of the first sight, so that what is added is what is
// moved.
struct Seen {
  uint64_t blocks = 0;
  uint32_t holders = 0;     // names that keep it alive, the store's not among them
  uint32_t names = 0;       // seen in all trees
  uint32_t names_here = 0;  // seen in tree `tree`
  uint32_t tree = kNone;    // the last one that it was seen in
  uint32_t exclusive_in = kNone;
};

uint64_t content_of(const FileStat& stat) {
  return S_ISREG(stat.mode) || S_ISLNK(stat.mode) ? stat.size : 0;
}

uint32_t holders_of(const FileStat& stat) {
  if (S_ISDIR(stat.mode)) return 1;  // nlink of a directory counts its subdirectories
  const bool sealed = (stat.attributes & STATX_ATTR_IMMUTABLE) != 0;
  return sealed && stat.nlink > 1 ? stat.nlink - 1 : stat.nlink;
}

void add_inode(Usage& usage, const FileStat& stat, uint64_t blocks) {
  usage.inodes += 1;
  usage.inodes_shared += 1;
  usage.apparent += content_of(stat);
  usage.on_disk += blocks * 512;
  usage.shared += blocks * 512;
}

void make_exclusive(Usage& usage, uint64_t blocks) {
  usage.inodes_shared -= 1;
  usage.inodes_exclusive += 1;
  usage.shared -= blocks * 512;
  usage.exclusive += blocks * 512;
}

void make_shared(Usage& usage, uint64_t blocks) {
  usage.inodes_shared += 1;
  usage.inodes_exclusive -= 1;
  usage.shared += blocks * 512;
  usage.exclusive -= blocks * 512;
}

class Counter {
 public:
  explicit Counter(DiskUsage& result) : result_(result) {}

  // Counts one name of an inode; true if it is the first one in all trees.
  bool add(uint32_t tree, const FileStat& stat) {
    result_.trees[tree].usage.names += 1;
    result_.total.names += 1;
    if (stat.nlink <= 1 && !S_ISDIR(stat.mode)) return add_only_name(tree, stat);
    Seen& seen = seen_[key_of(stat)];
    const bool first = seen.names == 0;
    if (first) {
      seen.blocks = stat.blocks;
      seen.holders = holders_of(stat);
      add_inode(result_.total, stat, seen.blocks);
    }
    if (seen.tree != tree) enter_tree(seen, tree, stat);
    add_name(seen, tree);
    return first;
  }

 private:
  // The common case needs no record: no other name can turn up.
  bool add_only_name(uint32_t tree, const FileStat& stat) {
    for (Usage* usage : {&result_.trees[tree].usage, &result_.total}) {
      add_inode(*usage, stat, stat.blocks);
      make_exclusive(*usage, stat.blocks);
    }
    return true;
  }

  void enter_tree(Seen& seen, uint32_t tree, const FileStat& stat) {
    add_inode(result_.trees[tree].usage, stat, seen.blocks);
    if (seen.exclusive_in != kNone) make_shared(result_.trees[seen.exclusive_in].usage, seen.blocks);
    seen.exclusive_in = kNone;
    seen.tree = tree;
    seen.names_here = 0;
  }

  void add_name(Seen& seen, uint32_t tree) {
    ++seen.names;
    ++seen.names_here;
    if (seen.names != seen.holders) return;
    make_exclusive(result_.total, seen.blocks);
    if (seen.names_here != seen.names) return;
    make_exclusive(result_.trees[tree].usage, seen.blocks);
    seen.exclusive_in = tree;
  }

  DiskUsage& result_;
  std::unordered_map<InodeKey, Seen, InodeKeyHash> seen_;
};

// ---- walking ----

using Roots = std::unordered_map<InodeKey, uint32_t, InodeKeyHash>;
using OnProblem = std::function<void(const Problem&)>;

// A subdirectory that was counted and is to be gone into.
struct Pending {
  std::string name;
  InodeKey key;
};

// One directory on the way from the top to where the walk is.
struct Level {
  std::string name;
  FileStat stat;
  UniqueFd fd;  // closed when the walk is deeper than kOpenLevels below it
  std::vector<Pending> pending = {};
};

Expected<UniqueFd> open_directory(int dir, const char* name) {
  for (const int noatime : {O_NOATIME, 0}) {
    // One component, never a symlink, nothing but a directory; what is found is compared with what was
    // counted.
    UniqueFd fd(::openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | noatime));
    if (fd) return fd;
    if (errno != EPERM) break;
  }
  return problem_from_errno("open directory", name);
}

bool same_directory(const FileStat& a, const FileStat& b) {
  return a.dev == b.dev && a.ino == b.ino && a.mount_id == b.mount_id;
}

class Walk {
 public:
  Walk(const RootDir& root, uint32_t tree, const Roots& roots, Counter& counter, TreeUsage& usage,
       const OnProblem& on_problem)
      : root_(root), tree_(tree), roots_(roots), counter_(counter), usage_(usage), on_problem_(on_problem) {}

  void run() {
    counter_.add(tree_, root_.stat());
    auto top = open_directory(root_.fd(), ".");  // a descriptor of our own: it has a reading position
    if (!top) return cannot_go_down(top.error().code, "");
    go_into("", root_.stat(), std::move(*top));
    while (!levels_.empty()) {
      if (levels_.back().pending.empty()) {
        leave();
      } else {
        go_down();
      }
    }
  }

 private:
  // Path of an object in the directory the walk is in, for messages and for finding a lost directory again.
  std::string path_below(std::string_view name) const {
    std::string path;
    for (const Level& level : levels_) path = join_path(path, level.name);
    return join_path(path, name);
  }

  void problem(int code, const char* tried, std::string_view name) {
    ++usage_.problems;
    on_problem_(problem_from(code, tried, root_.host_path(path_below(name))));
  }

  // Same mount as the top; a btrfs subvolume has another st_dev but belongs to the tree. Where the kernel
  // tells no mount ids the device must do.
  bool on_this_mount(const FileStat& stat) const {
    if (stat.mount_id != root_.stat().mount_id) return false;
    return stat.mount_id != 0 || stat.dev == root_.stat().dev;
  }

  void go_into(std::string name, const FileStat& stat, UniqueFd fd) {
    levels_.push_back({std::move(name), stat, std::move(fd)});
    if (levels_.size() > kOpenLevels) levels_[levels_.size() - 1 - kOpenLevels].fd.reset();
    list();
  }

  void list() {
    const int fd = levels_.back().fd.get();
    reader_.start(fd, "");
    for (DirEntry entry; reader_.next(entry);) count(fd, entry.name);
    if (reader_.problem() != nullptr) problem(reader_.problem()->code, "list directory", "");
  }

  void count(int dir, std::string_view name) {
    const auto stat = stat_at(dir, name.data(), "");
    if (!stat) {
      if (stat.error().code != ENOENT) problem(stat.error().code, "stat", name);
      return;
    }
    if (!on_this_mount(*stat)) return;
    if (!S_ISDIR(stat->mode)) {
      counter_.add(tree_, *stat);
      return;
    }
    refuse_overlap(*stat, name);
    // Each directory is gone into once, so a guest that moves directories about cannot keep us walking.
    if (counter_.add(tree_, *stat)) levels_.back().pending.push_back({std::string(name), key_of(*stat)});
  }

  void refuse_overlap(const FileStat& stat, std::string_view name) const {
    const auto found = roots_.find(key_of(stat));
    if (found == roots_.end()) return;
    throw Error("trees overlap: another tree given is " + escaped(root_.host_path(path_below(name))) +
                    ", inside " + escaped(root_.path()),
                Exit::usage);
  }

  void go_down() {
    Level& level = levels_.back();
    const Pending next = std::move(level.pending.back());
    level.pending.pop_back();
    auto fd = open_directory(level.fd.get(), next.name.c_str());
    if (!fd) return cannot_go_down(fd.error().code, next.name);
    const auto stat = stat_fd(fd->get(), "");
    // Replaced or mounted over since it was counted: this one was not, or has its turn elsewhere.
    if (!stat || key_of(*stat) != next.key || !on_this_mount(*stat))
      return problem(ESTALE, "go into", next.name);
    go_into(next.name, *stat, std::move(*fd));
  }

  void cannot_go_down(int code, const std::string& name) {
    if (code != ENOENT) problem(code, "open directory", name);  // ENOENT: gone meanwhile
  }

  // Back to the parent; where its descriptor was closed, through ".." if that is still the directory we came
  // from (a guest may have moved us), else by its path from the top.
  void leave() {
    const Level child = std::move(levels_.back());
    levels_.pop_back();
    if (levels_.empty() || levels_.back().fd || levels_.back().pending.empty()) return;
    if (child.fd && reopen(open_directory(child.fd.get(), ".."))) return;
    if (reopen(root_.open(path_below(""), O_RDONLY | O_DIRECTORY))) return;
    problem(ESTALE, "return to", "");
    levels_.back().pending.clear();
  }

  bool reopen(Expected<UniqueFd> fd) {
    if (!fd) return false;
    const auto stat = stat_fd(fd->get(), "");
    if (!stat || !same_directory(*stat, levels_.back().stat)) return false;
    levels_.back().fd = std::move(*fd);
    return true;
  }

  const RootDir& root_;
  uint32_t tree_;
  const Roots& roots_;
  Counter& counter_;
  TreeUsage& usage_;
  const OnProblem& on_problem_;
  DirReader reader_;
  std::vector<Level> levels_;
};

Roots roots_of(const std::vector<RootDir>& trees) {
  Roots roots;
  for (uint32_t i = 0; i < trees.size(); ++i) {
    const auto [other, fresh] = roots.emplace(key_of(trees[i].stat()), i);
    if (!fresh)
      throw Error("trees overlap: " + escaped(trees[other->second].path()) + " and " +
                      escaped(trees[i].path()) + " are one directory",
                  Exit::usage);
  }
  return roots;
}

}  // namespace

DiskUsage disk_usage(const std::vector<std::string>& trees,
                     const std::function<void(const Problem&)>& on_problem) {
  std::vector<RootDir> opened;
  DiskUsage result;
  for (const std::string& tree : trees) {
    opened.emplace_back(tree);
    result.trees.push_back({tree, {}, 0});
  }
  const Roots roots = roots_of(opened);
  Counter counter(result);
  for (uint32_t i = 0; i < opened.size(); ++i) {
    Walk(opened[i], i, roots, counter, result.trees[i], on_problem).run();
    result.problems += result.trees[i].problems;
  }
  return result;
}

}  // namespace vs::unify
