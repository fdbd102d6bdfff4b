#include "isolation/trees/tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/store/inode_flags.h"
#include "core/store/unsealed_window.h"
#include "core/tree/dir_reader.h"
#include "core/tree/root_dir.h"

namespace vs::isolation {
namespace {

struct Name {
  std::string name;
  uint8_t type;
};

Expected<std::vector<Name>> names_in(int dir, const std::string& shown) {
  const UniqueFd fd(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return problem_from_errno("list", shown);
  DirReader reader;
  reader.start(fd.get(), shown);
  std::vector<Name> names;
  for (DirEntry entry; reader.next(entry);) names.push_back({std::string(entry.name), entry.type});
  if (reader.problem() != nullptr) return *reader.problem();
  return names;
}

// A removal: its filesystem, and who seals again what others share should we be killed.
struct Removal {
  uint64_t dev = 0;
  SealKeeper keeper;
};

Result unlink_sealed(Removal& removal, int dir, const std::string& name, const std::string& shown) {
  const UniqueFd fd(::openat(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return problem_from_errno("open", shown);
  if (!is_sealed(fd.get())) return problem_from(EPERM, "remove", shown);
  return in_unsealed_moment(removal.keeper, fd.get(), shown,
                            [&] { return ::unlinkat(dir, name.c_str(), 0) == 0 ? 0 : errno; });
}

// A directory that the guest's own administrator sealed. What is refused shows when its names are removed.
void unseal_directory(int fd) {
  static_cast<void>(change_inode_flags(fd, kSealFlags, false, ""));
}

Result remove_below(Removal& removal, int dir, const std::string& shown);

Result remove_entry(Removal& removal, int dir, const Name& entry, const std::string& shown) {
  struct stat found {};
  if (::fstatat(dir, entry.name.c_str(), &found, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? Result(Ok{}) : Result(problem_from_errno("look at", shown));
  if (found.st_dev != removal.dev) return problem_from(EXDEV, "remove a mounted filesystem at", shown);
  if (!S_ISDIR(found.st_mode)) {
    if (::unlinkat(dir, entry.name.c_str(), 0) == 0) return Ok{};
    return errno == EPERM && S_ISREG(found.st_mode) ? unlink_sealed(removal, dir, entry.name, shown)
                                                    : Result(problem_from_errno("remove", shown));
  }
  const UniqueFd below(::openat(dir, entry.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!below) return problem_from_errno("open", shown);
  unseal_directory(below.get());
  if (auto done = remove_below(removal, below.get(), shown); !done) return done;
  if (::unlinkat(dir, entry.name.c_str(), AT_REMOVEDIR) != 0) return problem_from_errno("remove", shown);
  return Ok{};
}

Result remove_below(Removal& removal, int dir, const std::string& shown) {
  const auto names = names_in(dir, shown);
  if (!names) return names.error();
  for (const auto& entry : *names)
    if (auto done = remove_entry(removal, dir, entry, shown + "/" + escaped(entry.name)); !done) return done;
  return Ok{};
}

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
    Removal removal;
    if (auto done = removal.keeper.start(); !done) return done;
    const RootDir root(tree);
    removal.dev = root.stat().dev;
    if (auto done = remove_below(removal, root.fd(), tree); !done) return done;
  }
  if (::rmdir(tree.c_str()) != 0) return problem_from_errno("remove", tree);
  return Ok{};
}

}  // namespace vs::isolation
