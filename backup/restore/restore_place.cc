#include "backup/restore/restore_place.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "backup/archive/host_tree.h"
#include "backup/restore/remove_below.h"
#include "backup/source/inode_details.h"
#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/store/project.h"
#include "core/tree/dir_reader.h"

namespace vs::backup {
namespace {

constexpr const char* kOf = ".of";
constexpr const char* kComplete = ".complete";

std::vector<std::string> guests_in(int dir, const std::string& shown) {
  const UniqueFd fd(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) throw Error(problem_from_errno("open directory", shown).message);
  std::vector<std::string> names;
  DirReader reader;
  reader.start(fd.get(), shown);
  for (DirEntry entry; reader.next(entry);)
    if (!entry.name.starts_with('.') || is_host_tree(entry.name)) names.emplace_back(entry.name);
  return names;
}

// The old text or the new, never half of it.
void write_file(const RootDir& dir, const std::string& name, std::string_view text) {
  const std::string fresh = name + ".new", shown = dir.path() + "/" + name;
  const UniqueFd fd(
      ::openat(dir.fd(), fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) throw Error(problem_from_errno("create", shown).message);
  ok_or_throw(write_all(fd.get(), text, shown));
  if (::fsync(fd.get()) != 0) throw Error(problem_from_errno("fsync", shown).message);
  if (::renameat(dir.fd(), fresh.c_str(), dir.fd(), name.c_str()) != 0)
    throw Error(problem_from_errno("rename to", shown).message);
  if (::fsync(dir.fd()) != 0) throw Error(problem_from_errno("fsync", dir.path()).message);
}

std::string read_file(const RootDir& dir, const std::string& name) {
  const auto fd = dir.open_regular(name);
  return fd ? value_or_throw(read_whole("/proc/self/fd/" + std::to_string(fd->get()))) : std::string();
}

bool has(const RootDir& dir, const std::string& name) {
  return static_cast<bool>(dir.open(name, O_PATH));
}

}  // namespace

RestorePlace::RestorePlace(const std::string& target, const std::vector<std::string>& guests,
                           const std::string& identity, bool takes_over)
    : path_(target) {
  if (::mkdir(target.c_str(), 0700) != 0 && errno != EEXIST)
    throw Error(problem_from_errno("create directory", target).message, Exit::usage);
  target_ = std::make_unique<RootDir>(target);
  const std::string shown = target + "/" + kRestoreDir;
  const bool fresh = ::mkdirat(target_->fd(), kRestoreDir, 0700) == 0;
  if (!fresh && errno != EEXIST)
    throw Error(problem_from_errno("create directory", shown).message, Exit::usage);
  UniqueFd work(::openat(target_->fd(), kRestoreDir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!work) throw Error(problem_from_errno("open directory", shown).message, Exit::usage);
  ok_or_throw(check_private_dir(work.get(), shown), Exit::usage);
  struct ::stat found;
  // Who held it may have ended, and removed it, just now.
  if (::flock(work.get(), LOCK_EX | LOCK_NB) != 0 || ::fstat(work.get(), &found) != 0 || found.st_nlink == 0)
    throw Error("another restore into " + escaped(target) + " goes on", Exit::locked);
  work_ = std::make_unique<RootDir>(std::move(work), shown, false);
  hand_nothing_down();
  const std::string of = read_file(*work_, kOf);
  was_complete_ = has(*work_, kComplete);
  if (was_complete_ && of != identity)
    throw Error(escaped(shown) +
                    " holds a complete restore that was killed while it was put in place. Run the same "
                    "command again to end it, or move that directory away. It is of: " +
                    escaped(of),
                Exit::usage);
  for (const auto& guest : guests) {
    const auto there = target_->open(guest, O_PATH);
    if (!there && there.error().code != ENOENT) throw Error(there.error().message, Exit::usage);
    if (!there || (was_complete_ && !has(*work_, guest))) continue;
    if (fresh) ::unlinkat(target_->fd(), kRestoreDir, AT_REMOVEDIR);
    throw Error(
        escaped(target + "/" + guest) + " exists already; restore into another directory, or move it away",
        Exit::usage);
  }
  if (was_complete_) return;
  sweep(takes_over && of == identity);
  if (of != identity) write_file(*work_, kOf, identity);
}

// Objects are made equal one by one, but the flags and project of a symlink or device, which cannot be
// opened, are what its directory hands down.
void RestorePlace::hand_nothing_down() const {
  const std::string& shown = work_->path();
  ok_or_throw(write_flags(work_->fd(), 0, kKeptFlags, shown));
  ok_or_throw(write_xattrs(work_->fd(), "", shown));
  ok_or_throw(write_project(work_->fd(), 0, shown));
}

void RestorePlace::sweep(bool may_stay) {
  for (const auto& guest : guests_in(work_->fd(), work_->path())) {
    const UniqueFd dir(::openat(work_->fd(), guest.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (dir) remove_below(dir.get(), false);
    if (::unlinkat(work_->fd(), guest.c_str(), AT_REMOVEDIR) == 0 || may_stay) continue;
    throw Error(
        problem_from_errno("remove what a killed restore left,", work_->path() + "/" + guest).message +
            "; with --link-live it has sealed names of masters: run that command again, or remove them after "
            "vunify release",
        Exit::usage);
  }
}

void RestorePlace::complete() {
  // The names that follow must not be on disk before what they stand for.
  if (::syncfs(work_->fd()) != 0) throw Error(problem_from_errno("sync", work_->path()).message);
  write_file(*work_, kComplete, "");
}

const RootDir& RestorePlace::place_of(const std::string& guest) const {
  return has(*work_, guest) ? *work_ : *target_;
}

Result RestorePlace::put(const std::string& guest) {
  const auto dir = work_->open(guest, O_RDONLY | O_DIRECTORY);
  if (!dir) return dir.error().code == ENOENT ? Result(Ok{}) : Result(dir.error());
  // Into a directory that hands its project down nothing of another one can be renamed.
  if (const uint32_t project = inherited_project(target_->fd()); project != 0)
    if (auto given = set_project(dir->get(), project, path_ + "/" + guest); !given) return given;
  if (::renameat2(work_->fd(), guest.c_str(), target_->fd(), guest.c_str(), RENAME_NOREPLACE) != 0)
    return problem_from_errno("put in place", path_ + "/" + guest);
  return Ok{};
}

void RestorePlace::finish() {
  if (::fsync(target_->fd()) != 0) throw Error(problem_from_errno("fsync", path_).message);
  // The mark first: from then on a rerun finds vservers that exist already, as it would after the end.
  for (const char* name : {kComplete, kOf}) ::unlinkat(work_->fd(), name, 0);
  ::unlinkat(target_->fd(), kRestoreDir, AT_REMOVEDIR);
}

}  // namespace vs::backup
