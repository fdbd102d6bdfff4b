#include "core/store/guard.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "core/escape.h"
#include "core/tree/nodev_mount.h"

namespace vs {
namespace {
constexpr std::string_view kStrongestFirst[] = {"immutable", "reflink"};
}

Expected<int> open_scratch_file(int dir) {
  const int fd = ::openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return problem_from_errno("create a nameless file in", path_of_fd(dir));
  return fd;
}

std::unique_ptr<Guard> make_guard(std::string_view name) {
  if (name == "immutable") return make_immutable_guard();
  if (name == "reflink") return make_reflink_guard();
  if (name == "iunlink" || name == "bpf")
    throw Error(fmt::format("guard {} is not in this build; use auto, immutable or reflink", name),
                Exit::usage);
  throw Error(fmt::format("unknown guard '{}': expected auto, immutable or reflink", name), Exit::usage);
}

GuardChoice choose_guard(std::string_view requested, int scratch_dir, bool inode_sharing_possible,
                         bool looking, const std::string& where) {
  if (requested != "auto") make_guard(requested);  // a bad name is told before anything is tried
  GuardChoice choice;
  if (const auto scratch = open_scratch_file(scratch_dir); scratch) {
    ::close(*scratch);
  } else if (looking && scratch.error().code == EROFS) {
    choice.guard = make_guard(requested == "auto" ? "immutable" : requested);
    choice.considered.push_back(
        {std::string(choice.guard->name()), false, "not tried: the filesystem is mounted read-only"});
    return choice;
  }
  for (const auto name : kStrongestFirst) {
    auto guard = make_guard(name);
    auto passed =
        !inode_sharing_possible && guard->shares_inodes()
            ? Result(Problem{EXDEV, "the trees are on different subvolumes, which hard links cannot cross"})
            : guard->probe(scratch_dir);
    choice.considered.push_back(
        {std::string(name), passed.has_value(), passed ? "probe passed" : passed.error().message});
    const bool wanted = requested == "auto" ? choice.guard == nullptr : requested == name;
    if (wanted && passed) choice.guard = std::move(guard);
  }
  if (choice.guard != nullptr) return choice;
  std::string all;
  for (const auto& verdict : choice.considered)
    all += fmt::format("\n  {}: {}", verdict.name,
                       verdict.usable ? "would work here (--guard=" + verdict.name + ")" : verdict.why);
  throw Error(fmt::format("{} on {}; nothing was changed:{}",
                          requested == "auto"
                              ? "no guard can protect shared files"
                              : fmt::format("guard {} cannot protect shared files", requested),
                          escaped(where), all));
}

}  // namespace vs
