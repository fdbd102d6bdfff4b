#include "core/tree/root_dir.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/escape.h"
#include "core/tree/file_time.h"
#include "core/tree/nodev_mount.h"

namespace vs {
namespace {

constexpr unsigned kMask = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID;
constexpr uint64_t kBeneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
// Pieces handed to the kernel at once: below PATH_MAX (4096) with room for the terminating NUL.
constexpr size_t kPiece = 4000;

constexpr int kTries = 20;

int64_t time_of(const statx_timestamp& t) {
  return file_time(t.tv_sec, t.tv_nsec);
}

Expected<FileStat> stat_with(int dir, const char* name, int flags, const std::string& object) {
  struct statx raw;
  if (::statx(dir, name, flags | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, kMask, &raw) != 0)
    return problem_from_errno("stat", object);
  FileStat stat;
  stat.dev = makedev(raw.stx_dev_major, raw.stx_dev_minor);
  stat.ino = raw.stx_ino;
  stat.mount_id = raw.stx_mnt_id;
  stat.size = raw.stx_size;
  stat.blocks = raw.stx_blocks;
  stat.mtime_ns = time_of(raw.stx_mtime);
  stat.ctime_ns = time_of(raw.stx_ctime);
  stat.btime_ns = (raw.stx_mask & STATX_BTIME) != 0 ? time_of(raw.stx_btime) : 0;
  stat.attributes = raw.stx_attributes;
  stat.mode = raw.stx_mode;
  stat.uid = raw.stx_uid;
  stat.gid = raw.stx_gid;
  stat.nlink = raw.stx_nlink;
  stat.rdev = makedev(raw.stx_rdev_major, raw.stx_rdev_minor);
  return stat;
}

int raw_openat2(int dir, const char* path, int flags, uint64_t resolve) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags);
  how.resolve = resolve;
  for (int tries = 0;; ++tries) {
    const int fd = static_cast<int>(::syscall(SYS_openat2, dir, path, &how, sizeof how));
    // EINTR: a signal. EAGAIN: a rename elsewhere made the kernel unsure that ".." stayed beneath, which the
    // next try settles; or somebody holds a lease on the file, and may do so for 45 s.
    if (fd >= 0 || (errno != EINTR && (errno != EAGAIN || tries == kTries))) return fd;
  }
}

bool have_openat2() {
  static const bool have = [] {
    if (const char* off = std::getenv("VS_NO_OPENAT2"); off != nullptr && *off == '1') return false;
    const int fd = raw_openat2(AT_FDCWD, ".", O_PATH | O_CLOEXEC, 0);
    if (fd >= 0) ::close(fd);
    return fd >= 0;
  }();
  return have;
}

// The way without openat2: one component at a time, no symlink, no other mount unless they may be crossed.
int walk_beneath(int root, const std::string& path, int flags, bool cross = false) {
  UniqueFd current(::openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!current) return -1;
  const auto root_stat = stat_fd(root, path);
  if (!root_stat) return errno = root_stat.error().code, -1;
  size_t at = 0;
  while (at <= path.size()) {
    const size_t slash = std::min(path.find('/', at), path.size());
    const std::string part = path.substr(at, slash - at);
    at = slash + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") return errno = EXDEV, -1;
    UniqueFd next(::openat(current.get(), part.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!next) return -1;
    const auto stat = stat_fd(next.get(), part);
    if (!stat) return errno = stat.error().code, -1;
    // The last one may be held on to as what it is, as with openat2: a link is archived, not followed.
    const bool held = at > path.size() && (flags & O_PATH) != 0 && (flags & O_NOFOLLOW) != 0;
    if (S_ISLNK(stat->mode) && !held) return errno = ELOOP, -1;
    if (!cross && (stat->mount_id != root_stat->mount_id || stat->dev != root_stat->dev))
      return errno = EXDEV, -1;
    if (at <= path.size() && !S_ISDIR(stat->mode)) return errno = ENOTDIR, -1;
    current = std::move(next);
  }
  if ((flags & O_PATH) != 0) {
    const auto stat = stat_fd(current.get(), path);
    if ((flags & O_DIRECTORY) != 0 && (!stat || !S_ISDIR(stat->mode))) return errno = ENOTDIR, -1;
    return current.release();
  }
  const std::string proc = "/proc/self/fd/" + std::to_string(current.get());
  return ::open(proc.c_str(), flags & ~O_NOFOLLOW);
}

int open_beneath(int root, const std::string& path, int flags, bool cross) {
  const std::string& name = path.empty() ? "." : path;
  return have_openat2()
             ? raw_openat2(root, name.c_str(), flags, cross ? kBeneath : kBeneath | RESOLVE_NO_XDEV)
             : walk_beneath(root, name, flags, cross);
}

}  // namespace

Expected<FileStat> stat_fd(int fd, const std::string& object) {
  return stat_with(fd, "", AT_EMPTY_PATH, object);
}

Expected<FileStat> stat_at(int dir, const char* name, const std::string& object) {
  return stat_with(dir, name, AT_SYMLINK_NOFOLLOW, object);
}

RootDir::RootDir(const std::string& host_path) : path_(host_path) {
  std::string itself =
      host_path;  // a slash behind it would have the kernel follow a symlink in spite of O_NOFOLLOW
  while (itself.size() > 1 && itself.ends_with('/')) itself.pop_back();
  fd_.reset(::open(itself.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd_) {
    const int error = errno;
    struct ::stat found;
    if (::lstat(itself.c_str(), &found) == 0 && S_ISLNK(found.st_mode))
      throw Error("tree " + escaped(host_path) + " is a symbolic link; name the directory itself",
                  Exit::usage);
    throw Error(problem_from(error, "open directory", host_path).message, Exit::usage);
  }
  stat_ = value_or_throw(stat_fd(fd_.get(), host_path), Exit::usage);
}

RootDir::RootDir(UniqueFd dir, const std::string& shown, bool nodev)
    : fd_(std::move(dir)), path_(shown), stat_(value_or_throw(stat_fd(fd_.get(), shown))), nodev_(nodev) {}

Expected<UniqueFd> RootDir::open(std::string_view path, int flags) const {
  flags |= O_CLOEXEC | O_NOFOLLOW;
  if ((flags & O_PATH) == 0) flags |= O_NONBLOCK | O_NOCTTY;
  int dir = fd_.get();
  UniqueFd holder;
  while (path.size() > kPiece) {
    const size_t cut = path.rfind('/', kPiece);
    if (cut == std::string_view::npos) return problem_from(ENAMETOOLONG, "open", host_path(path));
    holder.reset(open_beneath(dir, std::string(path.substr(0, cut)),
                              O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, !entered_.empty()));
    if (!holder) return problem_from_errno("open", host_path(path));
    dir = holder.get();
    path.remove_prefix(cut + 1);
  }
  if (!entered_.empty()) return open_entered(dir, path, flags);
  UniqueFd fd(open_beneath(dir, std::string(path), flags, false));
  if (!fd && errno == EPERM && (flags & O_NOATIME) != 0)  // only the owner and root may leave atime alone
    fd.reset(open_beneath(dir, std::string(path), flags & ~O_NOATIME, false));
  if (!fd) return problem_from_errno("open", host_path(path));
  return fd;
}

// Pinned first, so that nothing of a mount that is not ours to enter is ever opened.
Expected<UniqueFd> RootDir::open_entered(int dir, std::string_view path, int flags) const {
  UniqueFd pinned(
      open_beneath(dir, std::string(path), O_PATH | O_CLOEXEC | O_NOFOLLOW | (flags & O_DIRECTORY), true));
  if (!pinned) return problem_from_errno("open", host_path(path));
  const auto stat = stat_fd(pinned.get(), path_);
  if (!stat) return stat.error();
  if (!enters(stat->mount_id)) return problem_from(EXDEV, "open", host_path(path));
  if ((flags & O_PATH) != 0) return pinned;
  const std::string proc = "/proc/self/fd/" + std::to_string(pinned.get());
  UniqueFd fd(::open(proc.c_str(), flags & ~O_NOFOLLOW));
  if (!fd && errno == EPERM && (flags & O_NOATIME) != 0)
    fd.reset(::open(proc.c_str(), flags & ~(O_NOFOLLOW | O_NOATIME)));
  if (!fd) return problem_from_errno("open", host_path(path));
  return fd;
}

bool RootDir::enters(uint64_t mount_id) const {
  return mount_id == stat_.mount_id ||
         std::find(entered_.begin(), entered_.end(), mount_id) != entered_.end();
}

Expected<UniqueFd> RootDir::open_dir(std::string_view path) const {
  return open(path, O_PATH | O_DIRECTORY);
}

void RootDir::see_through(UniqueFd fd) {
  const auto seen = value_or_throw(stat_fd(fd.get(), path_));
  if (seen.dev != stat_.dev || seen.ino != stat_.ino)
    throw Error(escaped(path_) + " is another directory in the private view of its mount");
  fd_ = std::move(fd);
  stat_ = seen;
  nodev_ = true;
}

Expected<UniqueFd> RootDir::open_regular(std::string_view path, FileStat* stat) const {
  if (nodev_) {
    // The mount refuses devices, O_NONBLOCK passes fifos by, and sockets cannot be opened.
    auto fd = open(path, O_RDONLY | O_NOATIME);
    if (!fd && (fd.error().code == EACCES || fd.error().code == ENXIO))
      return Problem{EINVAL, "not a regular file: " + escaped(host_path(path))};
    if (!fd) return fd;
    const auto found = stat_fd(fd->get(), path_);
    if (!found) return found.error();
    if (!S_ISREG(found->mode)) return Problem{EINVAL, "not a regular file: " + escaped(host_path(path))};
    if (stat != nullptr) *stat = *found;
    return fd;
  }
  auto pinned = open(path, O_PATH);
  if (!pinned) return pinned;
  const auto found = stat_fd(pinned->get(), path_);
  if (!found) return found.error();
  if (!S_ISREG(found->mode)) return Problem{EINVAL, "not a regular file: " + escaped(host_path(path))};
  if (stat != nullptr) *stat = *found;
  return reopen_for_reading(pinned->get(), path_);
}

Expected<UniqueFd> RootDir::open_in_root(std::string_view path, int flags) const {
  flags |= O_CLOEXEC;
  if ((flags & O_PATH) == 0) flags |= O_NONBLOCK | O_NOCTTY;
  const std::string name(path.empty() ? "." : path);
  UniqueFd fd(have_openat2()
                  ? raw_openat2(fd_.get(), name.c_str(), flags,
                                RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
                  : walk_beneath(fd_.get(), name,
                                 flags));  // without openat2: what lies behind a symlink is not found
  if (!fd) return problem_from_errno("open", host_path(path));
  return fd;
}

std::string RootDir::host_path(std::string_view path) const {
  return join_path(path_, path);
}

Expected<UniqueFd> reopen_for_reading(int fd, const std::string& object) {
  char proc[40];
  std::snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
  for (const int noatime : {O_NOATIME, 0}) {
    UniqueFd again(::open(proc, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | noatime));
    if (again) return again;
    if (errno != EPERM) break;
  }
  return problem_from_errno("open for reading", object);
}

Expected<UniqueFd> open_above(int dir) {
  UniqueFd above(::openat(dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!above) return problem_from_errno("open the directory above", path_of_fd(dir));
  return above;
}

std::pair<std::string_view, std::string_view> split_path(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {{}, path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

std::vector<std::string> path_parts(std::string_view path) {
  std::vector<std::string> parts;
  for (size_t at = 0; at < path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, slash - at);
    at = slash + 1;
    if (!part.empty() && part != ".") parts.emplace_back(part);
  }
  return parts;
}

std::string join_path(std::string_view dir, std::string_view name) {
  if (dir.empty()) return std::string(name);
  if (name.empty()) return std::string(dir);
  std::string path;
  path.reserve(dir.size() + name.size() + 1);
  path.append(dir).append("/").append(name);
  return path;
}

}  // namespace vs
