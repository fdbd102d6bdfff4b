#include "unify/packages/package_work.h"

#include <fcntl.h>

#include "core/tree/dir_reader.h"

namespace vs::unify {
namespace {

struct LockFile {
  const char *path, *message;
};
// rpm has its database in one of two places.
constexpr LockFile kLocks[] = {
    {"var/lib/dpkg/lock-frontend", "apt holds var/lib/dpkg/lock-frontend"},
    {"var/lib/dpkg/lock", "dpkg holds var/lib/dpkg/lock"},
    {"var/lib/rpm/.rpm.lock", "rpm holds var/lib/rpm/.rpm.lock"},
    {"usr/lib/sysimage/rpm/.rpm.lock", "rpm holds usr/lib/sysimage/rpm/.rpm.lock"},
};
constexpr const char* kJournal = "var/lib/dpkg/updates";

// By a writer: a query of rpm holds a lock for reading.
bool is_locked(const RootDir& root, const char* path) {
  const auto fd = root.open_regular(path);
  if (!fd) return false;
  struct flock lock {};
  lock.l_type = F_RDLCK;
  lock.l_whence = SEEK_SET;
  return ::fcntl(fd->get(), F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool has_entries(const RootDir& root, const char* path) {
  const auto dir = root.open_dir(path);
  if (!dir) return false;
  const UniqueFd fd(::openat(dir->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return false;
  DirReader reader;
  reader.start(fd.get(), path);
  DirEntry entry;
  return reader.next(entry);
}

}  // namespace

std::optional<std::string> package_work(const RootDir& root) {
  for (const auto& lock : kLocks)
    if (is_locked(root, lock.path)) return lock.message;
  if (has_entries(root, kJournal))
    return "dpkg has not finished (entries in var/lib/dpkg/updates; dpkg --configure -a in it goes on)";
  return std::nullopt;
}

}  // namespace vs::unify
