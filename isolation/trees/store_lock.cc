#include "isolation/trees/store_lock.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <fstream>
#include <regex>

#include "core/durable/durable_file.h"
#include "core/unique_fd.h"

namespace vs::isolation {
namespace {

// The value of `store = PATH` in vunify's configuration; "" for none.
std::string configured_store(const std::string& vunify_conf) {
  const std::regex wanted(R"(^\s*store\s*=\s*["']?([^"'#]*[^"'#\s]).*)");
  std::ifstream file(vunify_conf);
  std::smatch found;
  for (std::string line; std::getline(file, line);)
    if (std::regex_match(line, found, wanted)) return found[1];
  return {};
}

UniqueFd top_of_mount(const RootDir& tree) {
  UniqueFd at(::openat(tree.fd(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (FileStat here = tree.stat();;) {
    UniqueFd above = value_or_throw(open_above(at.get()));
    const FileStat there = value_or_throw(stat_fd(above.get(), tree.path()));
    if (there.mount_id != here.mount_id || there.ino == here.ino) return at;
    at = std::move(above);
    here = there;
  }
}

}  // namespace

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
  if (const std::string configured = configured_store(vunify_conf); configured.starts_with('/'))
    lock(AT_FDCWD, configured, configured + "/lock");
  const UniqueFd top = top_of_mount(tree);
  lock(top.get(), ".unify", ".unify/lock of the filesystem of " + tree.path());
  return locks;
}

}  // namespace vs::isolation
