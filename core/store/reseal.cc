#include "core/store/reseal.h"

#include <chrono>

#include "core/store/inode_flags.h"
#include "core/store/project.h"

namespace vs {
namespace {

constexpr auto kPatience = std::chrono::milliseconds(500);

Expected<bool> is_as(int fd, const SealedState& state, const std::string& object) {
  const auto stat = stat_fd(fd, object);
  if (!stat) return stat.error();
  const auto right = has_class(fd, *stat, state.file_class, state.xattrs, object);
  if (!right || !*right) return right;
  return marks_of(fd) == state.marks;
}

// The flags by their value: one that a guest set is taken off as well.
Result put_back(int fd, const SealedState& state, const std::string& object) {
  if (auto done = restore_class(fd, state.file_class, state.xattrs, object); !done) return done;
  const InodeMarks now = marks_of(fd);
  if (auto done = change_inode_flags(fd, now.flags & ~state.marks.flags, false, object); !done) return done;
  if (auto done = change_inode_flags(fd, state.marks.flags & ~now.flags, true, object); !done) return done;
  return now.project == state.marks.project ? Result(Ok{}) : set_project(fd, state.marks.project, object);
}

}  // namespace

InodeMarks marks_of(int fd) {
  const auto flags = inode_flags(fd, "");
  return {flags ? *flags & kOtherFlags : 0, project_of(fd)};
}

Expected<bool> reseal(int fd, const SealedState& state, const std::string& object, const Seal& seal,
                      const std::function<void()>& changed) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    if (auto sealed = seal.set(); !sealed) return sealed.error();
    const auto right = is_as(fd, state, object);
    if (!right || *right) return right;
    changed();
    if (std::chrono::steady_clock::now() >= until) return false;
    if (auto lifted = seal.lift(); !lifted) return lifted.error();
    if (auto restored = put_back(fd, state, object); !restored) return restored.error();
  }
}

}  // namespace vs
