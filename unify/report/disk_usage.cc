#include "unify/report/disk_usage.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <unordered_map>

#include "core/escape.h"
#include "core/tree/dir_reader.h"
#include "core/tree/root_dir.h"
#include "unify/report/inode_counter.h"

namespace vs::unify {
namespace {

// Directories on the way down that stay open; deeper trees are climbed by "..". Few, as the limit may be 1024
// for the whole process and a guest makes its tree as deep as it likes.
constexpr size_t kOpenLevels = 64;

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
    // One component, never a symlink, nothing but a directory; go_down compares it with what was counted.
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
  Walk(const RootDir& root, uint32_t tree, const Roots& roots, InodeCounter& counter, TreeUsage& usage,
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
    if (counter_.add(tree_, *stat)) levels_.back().pending.push_back({std::string(name), inode_key(*stat)});
  }

  void refuse_overlap(const FileStat& stat, std::string_view name) const {
    const auto found = roots_.find(inode_key(stat));
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
    if (!stat || inode_key(*stat) != next.key || !on_this_mount(*stat))
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
  InodeCounter& counter_;
  TreeUsage& usage_;
  const OnProblem& on_problem_;
  DirReader reader_;
  std::vector<Level> levels_;
};

// Opened one after the other and not kept: there may be more trees than descriptors.
Roots roots_of(const std::vector<std::string>& trees) {
  Roots roots;
  for (uint32_t i = 0; i < trees.size(); ++i) {
    const auto [other, fresh] = roots.emplace(inode_key(RootDir(trees[i]).stat()), i);
    if (!fresh)
      throw Error("trees overlap: " + escaped(trees[other->second]) + " and " + escaped(trees[i]) +
                      " are one directory",
                  Exit::usage);
  }
  return roots;
}

RootDir open_tree(const std::string& path, uint32_t tree, const Roots& roots) {
  RootDir root(path);
  const auto found = roots.find(inode_key(root.stat()));
  if (found == roots.end() || found->second != tree)
    throw Error("tree " + escaped(path) + " became another directory meanwhile");
  return root;
}

}  // namespace

DiskUsage disk_usage(const std::vector<std::string>& trees,
                     const std::function<void(const Problem&)>& on_problem) {
  const Roots roots = roots_of(trees);
  DiskUsage result;
  for (const std::string& tree : trees) result.trees.push_back({tree, {}, 0});
  InodeCounter counter(result);
  for (uint32_t i = 0; i < trees.size(); ++i) {
    const RootDir root = open_tree(trees[i], i, roots);
    Walk(root, i, roots, counter, result.trees[i], on_problem).run();
    result.problems += result.trees[i].problems;
  }
  return result;
}

}  // namespace vs::unify
