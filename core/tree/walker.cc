#include "core/tree/walker.h"

#include <dirent.h>
#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "core/tree/listing.h"

namespace vs {

TreeWalk::TreeWalk(const RootDir& root, TreeVisitor& visitor, WalkOptions options)
    : root_(root), visitor_(visitor), options_(options) {}

Result TreeWalk::run() {
  open_top();
  while (!levels_.empty() && result_) {
    if (levels_.back().pending.empty())
      go_up();
    else if (options_.cancel != nullptr && options_.cancel->stop())
      result_ = problem_from(ECANCELED, "walk through", root_.path());
    else
      go_down();
  }
  levels_.clear();
  return std::exchange(result_, Ok{});
}

TreeWalk::Identity TreeWalk::identity_of(const FileStat& stat) {
  return {stat.dev, stat.ino, stat.mount_id, stat.btime_ns};
}

// Where the kernel tells no mount ids the device must do.
bool TreeWalk::foreign(const FileStat& stat) const {
  if (stat.mount_id != root_.stat().mount_id) return true;
  return stat.mount_id == 0 && stat.dev != root_.stat().dev;
}

void TreeWalk::trouble(const Problem& problem) {
  if (!visitor_.failed(problem) && result_) result_ = problem;
}

void TreeWalk::check(const Result& result) {
  if (!result) trouble(result.error());
}

// Opened anew: a descriptor has a reading position, and the caller's may be in use.
void TreeWalk::open_top() {
  if (options_.cancel != nullptr && options_.cancel->stop()) {
    result_ = problem_from(ECANCELED, "walk through", root_.path());
    return;
  }
  auto top = root_.open("", O_RDONLY | O_DIRECTORY | O_NOATIME);
  if (!top) return trouble(top.error());
  path_.clear();
  go_into("", std::move(*top));
}

void TreeWalk::go_into(std::string name, UniqueFd fd) {
  Level level{std::move(name), {}, {}};
  level.dir.emplace_back(std::move(fd), shown_path(root_, path_), false);
  level.identity = identity_of(level.dir.front().stat());
  const RootDir* above = levels_.empty() ? nullptr : &levels_.back().dir.front();
  if (const auto entered = visitor_.enter({level.dir.front(), path_, above, level.name}); !entered) {
    path_.resize(split_path(path_).first.size());
    return trouble(entered.error());
  }
  levels_.push_back(std::move(level));
  if (levels_.size() > kOpenLevels) levels_[levels_.size() - 1 - kOpenLevels].dir.clear();
  list();
}

void TreeWalk::list() {
  const RootDir& dir = levels_.back().dir.front();
  reader_.start(dir.fd(), dir.path());
  for (DirEntry entry; result_ && reader_.next(entry);) visit(entry);
  if (reader_.problem() != nullptr && result_) trouble(*reader_.problem());
}

void TreeWalk::visit(const DirEntry& entry) {
  Level& level = levels_.back();
  const RootDir& dir = level.dir.front();
  WalkEntry shown{dir, path_, entry.name, entry.type};
  FileStat stat;
  if (options_.stat_all || entry.type == DT_DIR || entry.type == DT_UNKNOWN) {
    const auto found = stat_at(dir.fd(), entry.name.data(), "");
    if (!found) {
      if (!vanished(found.error()))
        trouble(problem_from(found.error().code, "stat", dir.host_path(entry.name)));
      return;
    }
    stat = *found;
    shown.type = type_of(stat);
    shown.foreign = foreign(stat);
    shown.stat = &stat;
  }
  const auto wanted = visitor_.visit(shown);
  if (!wanted) return trouble(wanted.error());
  if (!*wanted || shown.type != DT_DIR || shown.foreign) return;
  if (options_.max_depth != 0 && levels_.size() > options_.max_depth)
    return trouble(too_deep(root_, join_path(path_, entry.name), options_.max_depth));
  level.pending.push_back({std::string(entry.name), identity_of(stat)});
}

void TreeWalk::go_down() {
  Level& level = levels_.back();
  const Pending next = std::move(level.pending.back());
  level.pending.pop_back();
  auto fd = level.dir.front().open(next.name, O_RDONLY | O_DIRECTORY | O_NOATIME);
  if (!fd) return fd.error().code == ENOENT ? void() : trouble(fd.error());
  const std::string path = join_path(path_, next.name);
  const auto stat = stat_fd(fd->get(), path);
  if (!stat || identity_of(*stat) != next.identity)
    return trouble(problem_from(ESTALE, "go into", shown_path(root_, path)));
  path_ = path;
  go_into(next.name, std::move(*fd));
}

void TreeWalk::go_up() {
  Level child = std::move(levels_.back());
  levels_.pop_back();
  const std::string below = path_;
  path_.resize(split_path(path_).first.size());
  Level* above = levels_.empty() ? nullptr : &levels_.back();
  if (above != nullptr && above->dir.empty()) come_back(child);
  if (!options_.leaves || child.dir.empty() || (above != nullptr && above->dir.empty())) return;
  const RootDir* has_name = above == nullptr ? nullptr : &above->dir.front();
  check(visitor_.leave({child.dir.front(), below, has_name, child.name}));
}

// A directory of which nothing more is wanted stays closed.
void TreeWalk::come_back(const Level& child) {
  Level& level = levels_.back();
  if (level.pending.empty() && !options_.leaves) return;
  if (!child.dir.empty() && reopen(level, open_above(child.dir.front().fd()))) return;
  if (reopen(level, root_.open(path_, O_PATH | O_DIRECTORY))) return;
  level.pending.clear();
  trouble(problem_from(ESTALE, "return to", shown_path(root_, path_)));
}

// `fd` is O_PATH: nothing is opened before it is known to be the directory that we came through.
bool TreeWalk::reopen(Level& level, Expected<UniqueFd> fd) {
  if (!fd) return false;
  const auto stat = stat_fd(fd->get(), "");
  if (!stat || identity_of(*stat) != level.identity) return false;
  UniqueFd readable(::openat(fd->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!readable) return false;
  level.dir.emplace_back(std::move(readable), shown_path(root_, path_), false);
  return true;
}

}  // namespace vs
