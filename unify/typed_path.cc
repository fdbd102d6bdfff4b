#include "unify/typed_path.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>
#include <vector>

namespace vs::unify {
namespace {

// What symlinks may add to a path in all: those of a real system add a few bytes each, and a guest that makes
// them lead through thousands of directories shall not keep us busy.
constexpr size_t kMaxTargets = 16 * 1024;

// The parts behind the tree's own, if `given` is a host path of the tree at `tree`.
std::optional<std::vector<std::string>> behind(const std::vector<std::string>& given,
                                               const std::string& tree) {
  const auto top = path_parts(tree);
  if (top.empty() || given.size() < top.size() || !std::equal(top.begin(), top.end(), given.begin()))
    return std::nullopt;
  return std::vector<std::string>(given.begin() + static_cast<long>(top.size()), given.end());
}

std::vector<std::string> guest_parts(const RootDir& root, const std::string& given) {
  auto parts = path_parts(given);
  if (!given.starts_with('/')) return parts;
  // The tree's path is the administrator's own, so the host may resolve it; what was typed is the guest's.
  std::error_code error;
  for (const std::string& tree :
       {root.path(), std::filesystem::weakly_canonical(root.path(), error).native()})
    if (tree.starts_with('/'))
      if (auto inside = behind(parts, tree)) return std::move(*inside);
  return parts;
}

Expected<std::string> read_symlink(int fd, const std::string& object) {
  std::string target(4096, '\0');  // PATH_MAX: no filesystem stores longer ones
  const ssize_t length = ::readlinkat(fd, "", target.data(), target.size());
  if (length < 0) return problem_from_errno("read the symbolic link", object);
  target.resize(static_cast<size_t>(length));
  return target;
}

// Goes down part by part; what is still to go is kept backwards, the next part last.
class TypedWalk {
 public:
  TypedWalk(const RootDir& root, std::vector<std::string> parts, const std::string& given, LastSymlink last)
      : root_(root), given_(given), last_(last), todo_(parts.rbegin(), parts.rend()) {}

  Expected<TypedPath> run() {
    TypedPath found{given_, "", root_.stat()};
    while (!todo_.empty()) {
      const std::string part = std::move(todo_.back());
      todo_.pop_back();
      if (part == "..") {
        done_.resize(split_path(done_).first.size());
        continue;
      }
      if (auto stepped = step(part); !stepped) return stepped.error();
    }
    const auto fd = root_.open(done_, O_PATH);
    if (!fd) return shown(fd.error());
    const auto stat = stat_fd(fd->get(), root_.host_path(done_));
    if (!stat) return stat.error();
    found.path = done_;
    found.stat = *stat;
    return found;
  }

 private:
  Problem shown(const Problem& problem) const { return problem_from(problem.code, "look for", given_); }

  Result step(const std::string& part) {
    std::string next = join_path(done_, part);
    const auto fd = root_.open(next, O_PATH);
    if (!fd) return shown(fd.error());
    const auto stat = stat_fd(fd->get(), root_.host_path(next));
    if (!stat) return stat.error();
    if (S_ISLNK(stat->mode) && (!todo_.empty() || last_ == LastSymlink::follow)) return follow(fd->get());
    if (!todo_.empty() && !S_ISDIR(stat->mode)) return problem_from(ENOTDIR, "look for", given_);
    done_ = std::move(next);
    return Ok{};
  }

  Result follow(int link) {
    const auto target = read_symlink(link, given_);
    if (!target) return target.error();
    length_ += target->size();
    if (++followed_ > kMaxSymlinks || length_ > kMaxTargets) return problem_from(ELOOP, "look for", given_);
    if (target->starts_with('/')) done_.clear();
    const auto parts = path_parts(*target);
    todo_.insert(todo_.end(), parts.rbegin(), parts.rend());
    return Ok{};
  }

  const RootDir& root_;
  const std::string& given_;
  const LastSymlink last_;
  std::vector<std::string> todo_;
  std::string done_;
  int followed_ = 0;
  size_t length_ = 0;
};

}  // namespace

Expected<TypedPath> resolve_typed_path(const RootDir& root, const std::string& given, LastSymlink last) {
  return TypedWalk(root, guest_parts(root, given), given, last).run();
}

bool is_at_or_below(std::string_view path, const TypedPath& typed) {
  return typed.path.empty() || path == typed.path ||
         (path.starts_with(typed.path) && path[typed.path.size()] == '/');
}

}  // namespace vs::unify
