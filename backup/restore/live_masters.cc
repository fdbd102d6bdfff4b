#include "backup/restore/live_masters.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "backup/source/inode_details.h"
#include "backup/source_reader.h"
#include "core/durable/durable_file.h"
#include "core/store/inode_flags.h"
#include "core/tree/dir_reader.h"

namespace vs::backup {
namespace {

std::vector<std::string> names_of(int dir, const std::string& name, const std::string& shown) {
  UniqueFd fd(::openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  std::vector<std::string> names;
  if (!fd) return names;
  DirReader reader;
  reader.start(fd.get(), shown);
  for (DirEntry entry; reader.next(entry);) names.emplace_back(entry.name);
  return names;
}

bool change_seal(int fd, bool on) {
  return change_inode_flags(fd, kImmutableFlag, on, "").has_value();
}

// Everything that the object is, compared with the open file.
bool is_same(int fd, const Entry& object, bool with_bytes) {
  const auto stat = stat_fd(fd, "");
  if (!stat || !S_ISREG(stat->mode) || stat->size != object.size || (stat->mode & 07777) != object.mode ||
      stat->uid != object.uid || stat->gid != object.gid || stat->mtime_ns != object.mtime_ns)
    return false;
  const auto xattrs = read_xattrs(fd, "");
  if (!xattrs || *xattrs != object.xattrs) return false;
  if (!with_bytes) return true;
  const auto digest = digest_of(fd, stat->size, "");
  return digest && *digest == object.content;
}

}  // namespace

LiveMasters::LiveMasters(const std::string& store) : path_(store) {
  store_ = value_or_throw(open_private_dir(store, false), Exit::usage);
  masters_.reset(::openat(store_.get(), "masters", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!masters_) throw Error(store + " is no store of vunify (no masters in it)", Exit::usage);
  lock_ = std::make_unique<HostLock>(store_.get(), "lock", store + "/lock");
  for (const auto& dir : names_of(masters_.get(), ".", store)) {
    for (const auto& rest : names_of(masters_.get(), dir, store)) {
      const std::string name = dir + "/" + rest;
      const auto stat = stat_at(masters_.get(), name.c_str(), store);
      if (stat && S_ISREG(stat->mode) && (stat->attributes & STATX_ATTR_IMMUTABLE) != 0)
        by_size_and_time_.emplace(std::make_pair(stat->size, stat->mtime_ns), name);
    }
  }
}

uint64_t LiveMasters::link_to(const Entry& object, const std::function<uint64_t(int)>& link,
                              const std::function<void()>& unlink) {
  if (object.type != 'f') return 0;
  const auto [begin, end] = by_size_and_time_.equal_range({object.size, object.mtime_ns});
  for (auto it = begin; it != end; ++it) {
    UniqueFd fd(::openat(masters_.get(), it->second.c_str(), O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC));
    if (!fd || !is_same(fd.get(), object, true)) continue;
    if (::fcntl(fd.get(), F_SETLEASE, F_RDLCK) != 0)
      continue;  // somebody has it open for writing: it is no seal that holds
    if (!change_seal(fd.get(), false)) continue;
    uint64_t made = 0;
    try {
      made = link(fd.get());
    } catch (...) {
      change_seal(fd.get(), true);
      throw;
    }
    const bool sealed = change_seal(fd.get(), true);
    const bool unbroken = ::fcntl(fd.get(), F_GETLEASE) == F_RDLCK;
    if (!sealed || !is_same(fd.get(), object, !unbroken)) {
      unlink();
      throw Error(path_ + "/masters/" + it->second +
                  " was changed in the moment it was unsealed; run vunify recover and vunify check");
    }
    if (made > 0) return made;
  }
  return 0;
}

}  // namespace vs::backup
