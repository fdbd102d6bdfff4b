#include "backup/restore/restore_work.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "core/escape.h"
#include "core/tree/file_time.h"

namespace vs::backup {
namespace {

// A filesystem takes a time that it cannot hold without a word, and keeps the nearest that it can.
Result write_mtime(int fd, int64_t mtime_ns, const std::string& object) {
  const timespec mtime = timespec_of(mtime_ns), times[2] = {{0, UTIME_OMIT}, mtime};
  // Both kinds of descriptor, symlinks too: an empty path.
  if (::utimensat(fd, "", times, AT_EMPTY_PATH) != 0) return problem_from_errno("set the times of", object);
  if (mtime_ns <= kEarliestFileTime || mtime_ns >= kLatestFileTime)
    return Problem{ERANGE, "its time was farther away than what a backup holds"};
  // All hold these.
  if (mtime.tv_sec >= INT32_MIN && mtime.tv_sec <= INT32_MAX) return Ok{};
  const auto now = stat_fd(fd, object);
  if (!now) return now.error();
  if (timespec_of(now->mtime_ns).tv_sec != mtime.tv_sec)
    return Problem{ERANGE, "this filesystem cannot hold its time, and has the nearest that it can"};
  return Ok{};
}

}  // namespace

void RestoreWork::fail(const std::string& path, const Problem& problem) const {
  context.log.object_failed(fmt::format("{}: {}", escaped(path), problem.message));
}

Error RestoreWork::incomplete(const std::string& why, Exit code) const {
  return Error(
      fmt::format(
          "{}; what is restored so far is in {}/{}, and made whole or removed by the next restore into {}",
          why, escaped(options.target), kRestoreDir, escaped(options.target)),
      code);
}

Expected<int> ParentDirs::of(std::string_view path) {
  const auto parent = split_path(path).first;
  if (fd_ && parent == path_) return fd_.get();
  auto fd = root_.open(parent, O_RDONLY | O_DIRECTORY);
  if (!fd) return fd.error();
  fd_ = std::move(*fd);
  path_ = parent;
  return fd_.get();
}

Result give_project_and_flags(int fd, const Entry& entry, const std::string& shown) {
  if (auto done = write_project(fd, entry.project, shown); !done) return done;
  return write_flags(fd, entry.flags, kKeptFlags & ~kLateFlags, shown);
}

// Owner before mode (chown clears set-id bits) before attributes (chown clears capabilities, and what was a
// mask of an ACL becomes the mode of the group when the ACL goes) before times.
void give_attributes(const RestoreWork& work, int fd, const Entry& entry, const std::string& path) {
  const std::string proc = "/proc/self/fd/" + std::to_string(fd);
  if (::fchownat(fd, "", entry.uid, entry.gid, AT_EMPTY_PATH) != 0)
    work.fail(work.shown(path), problem_from_errno("set the owner of", work.shown(path)));
  if (entry.type != 'l' && ::chmod(proc.c_str(), entry.mode) != 0)
    work.fail(work.shown(path), problem_from_errno("set the mode of", work.shown(path)));
  // Those of a file were given before its bytes.
  if (entry.type == 'd') work.check(work.shown(path), give_project_and_flags(fd, entry, work.shown(path)));
  work.check(work.shown(path), write_xattrs(fd, entry.xattrs, work.shown(path)));
  work.check(work.shown(path), write_mtime(fd, entry.mtime_ns, work.shown(path)));
}

}  // namespace vs::backup
