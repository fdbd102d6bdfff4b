#include "isolation/trees/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/durable/durable_file.h"
#include "core/store/inode_flags.h"
#include "core/store/unsealed_window.h"
#include "core/tree/root_dir.h"
#include "core/tree/walker.h"

namespace vs::isolation {
namespace {

// Everything below a tree's top. The first thing that cannot be removed ends it.
class Removal final : public TreeVisitor {
 public:
  Removal(uint64_t dev, SealKeeper& keeper) : dev_(dev), keeper_(keeper) {}

  Expected<bool> visit(const WalkEntry& entry) override {
    if (entry.foreign || entry.stat->dev != dev_)
      return problem_from(EXDEV, "remove a mounted filesystem at", entry.dir.host_path(entry.name));
    if (entry.type == DT_DIR) return true;
    if (::unlinkat(entry.dir.fd(), entry.name.data(), 0) == 0 || errno == ENOENT) return false;
    if (errno != EPERM || entry.type != DT_REG)
      return problem_from_errno("remove", entry.dir.host_path(entry.name));
    if (auto done = unlink_sealed(entry); !done) return done.error();
    return false;
  }

  // The guest's own administrator may have sealed it. What is refused shows when its names are removed.
  Result enter(const WalkDirectory& dir) override {
    static_cast<void>(change_inode_flags(dir.dir.fd(), kSealFlags, false, ""));
    return Ok{};
  }

  Result leave(const WalkDirectory& dir) override {
    if (dir.above == nullptr || ::unlinkat(dir.above->fd(), dir.name.data(), AT_REMOVEDIR) == 0) return Ok{};
    return problem_from_errno("remove", dir.dir.path());
  }

  bool failed(const Problem&) override { return false; }

 private:
  Result unlink_sealed(const WalkEntry& entry) {
    const std::string shown = entry.dir.host_path(entry.name);
    const auto fd = entry.dir.open_regular(entry.name);
    if (!fd) return fd.error();
    if (!is_sealed(fd->get())) return problem_from(EPERM, "remove", shown);
    return in_unsealed_moment(keeper_, fd->get(), shown, [&] {
      return ::unlinkat(entry.dir.fd(), entry.name.data(), 0) == 0 ? 0 : errno;
    });
  }

  uint64_t dev_;
  SealKeeper& keeper_;
};

}  // namespace

Result make_skeleton(const std::string& tree) {
  const RootDir root(tree);
  for (const char* dir : {"dev", "proc", "sys", "run", "etc"})
    if (::mkdirat(root.fd(), dir, 0755) != 0 && errno != EEXIST)
      return problem_from_errno("create", root.host_path(dir));
  if (::mkdirat(root.fd(), "root", 0700) != 0 && errno != EEXIST)
    return problem_from_errno("create", root.host_path("root"));
  if (::mkdirat(root.fd(), "tmp", 01777) == 0) {
    if (::fchmodat(root.fd(), "tmp", 01777, 0) != 0)
      return problem_from_errno("change the mode of", root.host_path("tmp"));
  } else if (errno != EEXIST) {
    return problem_from_errno("create", root.host_path("tmp"));
  }
  const auto etc = root.open_dir("etc");
  if (!etc) return etc.error();
  constexpr std::pair<const char*, const char*> files[] = {
      {"passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
      {"group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"},
      {"hosts", "127.0.0.1 localhost\n"},
      {"fstab", ""}};
  for (const auto& [name, content] : files) {
    const UniqueFd fd(::openat(etc->get(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!fd && errno == EEXIST) continue;
    if (!fd) return problem_from_errno("create", root.host_path(std::string("etc/") + name));
    if (auto done = write_all(fd.get(), content, name); !done) return done;
  }
  return Ok{};
}

Result remove_tree(const std::string& tree) {
  expect_lease_signals();
  {
    SealKeeper keeper;
    if (auto done = keeper.start(); !done) return done;
    const RootDir root(tree);
    Removal removal(root.stat().dev, keeper);
    if (auto done = walk_tree(root, removal, {.stat_all = true, .leaves = true}); !done) return done;
  }
  if (::rmdir(tree.c_str()) != 0) return problem_from_errno("remove", tree);
  return Ok{};
}

}  // namespace vs::isolation
