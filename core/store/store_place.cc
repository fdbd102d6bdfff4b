#include "core/store/store_place.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "core/durable/durable_file.h"
#include "core/key_value.h"
#include "core/tree/nodev_mount.h"

namespace vs {

MountTop top_of_mount(const RootDir& tree) {
  MountTop top;
  top.fd.reset(::openat(tree.fd(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!top.fd) throw Error(problem_from_errno("open directory", tree.path()).message);
  for (FileStat here = tree.stat();;) {
    UniqueFd above = value_or_throw(open_above(top.fd.get()));
    const FileStat there = value_or_throw(stat_fd(above.get(), path_of_fd(above.get())));
    // The root directory is its own parent; another mount id is beyond the mount point.
    if (there.mount_id != here.mount_id || (there.ino == here.ino && there.dev == here.dev)) break;
    here = there;
    top.fd = std::move(above);
  }
  top.path = path_of_fd(top.fd.get());
  return top;
}

std::string default_store_path(const std::string& top) {
  return top == "/" ? "/.unify" : top + "/.unify";
}

std::string configured_store(const std::string& vunify_conf) {
  if (const char* place = std::getenv("VS_STORE"); place != nullptr) return place;
  if (::access(vunify_conf.c_str(), F_OK) != 0) return {};
  std::string place;
  for (const auto& line : read_key_values(vunify_conf, KeyValueGrammar::plain))
    if (line.key == "store") place = line.value;  // as vunify does: the last one counts
  return place;
}

std::vector<HostLock> lock_stores(const RootDir& tree, const std::string& vunify_conf) {
  std::vector<HostLock> locks;
  uint64_t locked = 0;  // inode: both may be one
  const auto lock = [&](int at, const std::string& path, const std::string& shown) {
    const UniqueFd store(::openat(at, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat found {};
    if (!store || ::fstat(store.get(), &found) != 0 || found.st_dev != tree.stat().dev ||
        found.st_ino == locked || !check_private_dir(store.get(), path))
      return;
    locks.emplace_back(store.get(), "lock", shown);
    locked = found.st_ino;
  };
  if (const std::string configured = configured_store(vunify_conf); !configured.empty())
    lock(AT_FDCWD, configured, configured + "/lock");
  const MountTop top = top_of_mount(tree);
  lock(top.fd.get(), ".unify", default_store_path(top.path) + "/lock");
  return locks;
}

}  // namespace vs
