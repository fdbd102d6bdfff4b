#include "isolation/trees/copy_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/store/file_class.h"
#include "core/tree/walker.h"

namespace vs::isolation {
namespace {

// Large enough that system calls do not count.
constexpr size_t kBuffer = 256 * 1024;

std::string in_proc(int dir, std::string_view name) {
  return fmt::format("/proc/self/fd/{}/{}", dir, name);
}

// --- one object --------------------------------------------------------------------------------------------

Result copy_range(int from, int to, off_t at, off_t end, std::vector<char>& buffer,
                  const std::string& shown) {
  while (at < end) {
    const size_t wanted = std::min(buffer.size(), static_cast<size_t>(end - at));
    const ssize_t got = ::pread(from, buffer.data(), wanted, at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return problem_from_errno("read", shown);
    if (got == 0) return Ok{};
    for (ssize_t done = 0; done < got;) {
      const ssize_t wrote =
          ::pwrite(to, buffer.data() + done, static_cast<size_t>(got - done), at + static_cast<off_t>(done));
      if (wrote < 0 && errno != EINTR) return problem_from_errno("write the copy of", shown);
      if (wrote > 0) done += wrote;
    }
    at += got;
  }
  return Ok{};
}

Result copy_bytes(int from, int to, uint64_t bytes, std::vector<char>& buffer, const std::string& shown) {
  if (bytes == 0 || ::ioctl(to, FICLONE, from) == 0) return Ok{};
  const auto size = static_cast<off_t>(bytes);
  if (::ftruncate(to, size) != 0) return problem_from_errno("write the copy of", shown);
  for (off_t at = 0; at < size;) {
    off_t data = ::lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // a hole up to the end
    if (data < 0) data = at;                // this filesystem tells of no holes
    off_t hole = ::lseek(from, data, SEEK_HOLE);
    if (hole < 0) hole = size;
    if (auto done = copy_range(from, to, data, std::min(hole, size), buffer, shown); !done) return done;
    at = hole;
  }
  return Ok{};
}

// Owner, mode, attributes and times of an open file or directory. An attribute that the filesystem of the
// copy does not know is left out, as cp does.
Result give_all(int from, int to, const std::string& shown) {
  struct stat found {};
  if (::fstat(from, &found) != 0) return problem_from_errno("stat", shown);
  const auto xattrs = read_xattrs(from, shown);
  if (!xattrs) return xattrs.error();
  const FileClass file_class{found.st_uid, found.st_gid, found.st_mode, 0, 0};
  if (auto done = give_class(to, file_class, {}, shown); !done) return done;
  for (const auto& [key, value] : *xattrs)
    if (::fsetxattr(to, key.c_str(), value.data(), value.size(), 0) != 0 && errno != ENOTSUP)
      return problem_from_errno("set extended attribute " + key + " of the copy of", shown);
  const timespec times[] = {found.st_atim, found.st_mtim};
  return ::futimens(to, times) == 0 ? Result(Ok{})
                                    : Result(problem_from_errno("set times of the copy of", shown));
}

// The same for what cannot be opened: symbolic links, fifos, devices, sockets. `pinned` is the original,
// O_PATH.
Result give_all_at(int pinned, int dir, const char* name, const std::string& shown) {
  struct stat found {};
  const auto xattrs = read_xattrs(pinned, shown);
  if (!xattrs) return xattrs.error();
  if (::fstat(pinned, &found) != 0 ||
      ::fchownat(dir, name, found.st_uid, found.st_gid, AT_SYMLINK_NOFOLLOW) != 0 ||
      (!S_ISLNK(found.st_mode) && ::fchmodat(dir, name, found.st_mode & 07777, 0) != 0))
    return problem_from_errno("set owner and mode of the copy of", shown);
  // The default ACL of its directory.
  ::lremovexattr(in_proc(dir, name).c_str(), "system.posix_acl_access");
  for (const auto& [key, value] : *xattrs)
    if (::lsetxattr(in_proc(dir, name).c_str(), key.c_str(), value.data(), value.size(), 0) != 0 &&
        errno != ENOTSUP)
      return problem_from_errno("set extended attribute " + key + " of the copy of", shown);
  const timespec times[] = {found.st_atim, found.st_mtim};
  if (::utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) != 0)
    return problem_from_errno("set times of the copy of", shown);
  return Ok{};
}

Result make_link(int from, const char* name, int dir, const std::string& shown) {
  std::string target(PATH_MAX, '\0');
  const ssize_t size = ::readlinkat(from, name, target.data(), target.size());
  if (size < 0) return problem_from_errno("read the link", shown);
  target.resize(static_cast<size_t>(size));
  return ::symlinkat(target.c_str(), dir, name) == 0 ? Result(Ok{})
                                                     : Result(problem_from_errno("copy", shown));
}

// --- the tree ----------------------------------------------------------------------------------------------

class Copy final : public TreeVisitor {
 public:
  explicit Copy(const RootDir& to) : to_(to), buffer_(kBuffer) {}

  // The walk visits what is in a directory right after it entered it: `here_` is that directory's copy.
  Expected<bool> visit(const WalkEntry& entry) override {
    const std::string shown = entry.dir.host_path(entry.name);
    if (entry.type == DT_DIR && !entry.foreign) return true;
    if (auto done = entry.type == DT_DIR ? make_directory(entry, shown) : copy(entry, shown); !done)
      if (done.error().code != EEXIST) return done.error();
    return false;
  }

  Result enter(const WalkDirectory& dir) override {
    const auto [above, name] = split_path(dir.path);
    if (!dir.path.empty()) {
      if (auto there = go_to(above); !there) return there;
      if (::mkdirat(here_.get(), std::string(name).c_str(), 0700) != 0 && errno != EEXIST)
        return problem_from_errno("create the copy of", dir.dir.path());
    }
    return go_to(dir.path);
  }

  // Its times last: each name that was made in it changed them.
  Result leave(const WalkDirectory& dir) override {
    if (auto there = go_to(dir.path); !there) return there;
    const UniqueFd copy(::openat(here_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!copy) return problem_from_errno("open the copy of", dir.dir.path());
    return give_all(dir.dir.fd(), copy.get(), dir.dir.path());
  }

  bool failed(const Problem&) override { return false; }

 private:
  Result go_to(std::string_view path) {
    if (here_ && here_path_ == path) return Ok{};
    auto fd = to_.open_dir(path);
    if (!fd) return fd.error();
    here_ = std::move(*fd);
    here_path_ = path;
    return Ok{};
  }

  Result make_directory(const WalkEntry& entry, const std::string& shown) {
    return ::mkdirat(here_.get(), entry.name.data(), entry.stat->mode & 07777) == 0
               ? Result(Ok{})
               : Result(problem_from_errno("create the copy of", shown));
  }

  Result copy(const WalkEntry& entry, const std::string& shown) {
    const std::pair key(entry.stat->dev, entry.stat->ino);
    if (const auto first = links_.find(key); first != links_.end()) return link(first->second, entry, shown);
    auto done = entry.type == DT_REG ? copy_file(entry, shown) : copy_special(entry, shown);
    if (done && entry.stat->nlink > 1) links_.emplace(key, join_path(entry.in, entry.name));
    return done;
  }

  Result link(const std::string& first, const WalkEntry& entry, const std::string& shown) {
    const auto fd = to_.open(first, O_PATH);
    if (!fd) return fd.error();
    const std::string proc = fmt::format("/proc/self/fd/{}", fd->get());
    return ::linkat(AT_FDCWD, proc.c_str(), here_.get(), entry.name.data(), AT_SYMLINK_FOLLOW) == 0
               ? Result(Ok{})
               : Result(problem_from_errno("link the copy of", shown));
  }

  Result copy_file(const WalkEntry& entry, const std::string& shown) {
    FileStat stat;
    const auto from = entry.dir.open_regular(entry.name, &stat);
    if (!from) return from.error();
    const UniqueFd made(
        ::openat(here_.get(), entry.name.data(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!made) return problem_from_errno("create the copy of", shown);
    if (auto done = copy_bytes(from->get(), made.get(), stat.size, buffer_, shown); !done)
      return Problem{done.error().code == EEXIST ? EIO : done.error().code, done.error().message};
    return give_all(from->get(), made.get(), shown);
  }

  Result copy_special(const WalkEntry& entry, const std::string& shown) {
    const auto pinned = entry.dir.open(entry.name, O_PATH);
    if (!pinned) return pinned.error();
    const char* name = entry.name.data();
    if (entry.type == DT_LNK) {
      if (auto done = make_link(entry.dir.fd(), name, here_.get(), shown); !done) return done;
    } else if (::mknodat(here_.get(), name, entry.stat->mode, static_cast<dev_t>(entry.stat->rdev)) != 0) {
      return problem_from_errno("create the copy of", shown);
    }
    return give_all_at(pinned->get(), here_.get(), name, shown);
  }

  const RootDir& to_;
  std::vector<char> buffer_;
  UniqueFd here_;  // O_PATH
  std::string here_path_;
  std::map<std::pair<uint64_t, uint64_t>, std::string> links_;  // the first copy of what has several names
};

}  // namespace

Result copy_tree(const RootDir& from, const RootDir& to) {
  Copy copy(to);
  return walk_tree(from, copy, {.stat_all = true, .leaves = true});
}

}  // namespace vs::isolation
