#include "unify/report/disk_usage.h"

#include <dirent.h>

#include <unordered_map>

#include "core/escape.h"
#include "core/tree/root_dir.h"
#include "core/tree/walker.h"
#include "unify/report/inode_counter.h"

namespace vs::unify {
namespace {

using Roots = std::unordered_map<InodeKey, uint32_t, InodeKeyHash>;
using OnProblem = std::function<void(const Problem&)>;

// Counts one tree.
class Count final : public TreeVisitor {
 public:
  Count(const RootDir& root, uint32_t tree, const Roots& roots, InodeCounter& counter, TreeUsage& usage,
        const OnProblem& on_problem)
      : root_(root), tree_(tree), roots_(roots), counter_(counter), usage_(usage), on_problem_(on_problem) {}

  void run() {
    counter_.add(tree_, root_.stat());
    ok_or_throw(walk_tree(root_, *this, {.stat_all = true}));
  }

  // Each directory is gone into once, so a guest that moves directories about cannot keep us walking.
  Expected<bool> visit(const WalkEntry& entry) override {
    if (entry.foreign) return false;
    if (entry.type == DT_DIR) refuse_overlap(entry);
    return counter_.add(tree_, *entry.stat);
  }

  bool failed(const Problem& problem) override {
    ++usage_.problems;
    on_problem_(problem);
    return true;
  }

 private:
  void refuse_overlap(const WalkEntry& entry) const {
    const auto found = roots_.find(inode_key(*entry.stat));
    if (found == roots_.end()) return;
    throw Error("trees overlap: another tree given is " + escaped(entry.dir.host_path(entry.name)) +
                    ", inside " + escaped(root_.path()),
                Exit::usage);
  }

  const RootDir& root_;
  uint32_t tree_;
  const Roots& roots_;
  InodeCounter& counter_;
  TreeUsage& usage_;
  const OnProblem& on_problem_;
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
    Count(root, i, roots, counter, result.trees[i], on_problem).run();
    result.problems += result.trees[i].problems;
  }
  return result;
}

}  // namespace vs::unify
