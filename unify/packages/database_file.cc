#include "unify/packages/database_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/tree/dir_reader.h"

namespace vs::unify {
namespace {

bool on_the_guests_mount(const FileStat& stat, const RootDir& root) {
  return stat.dev == root.stat().dev && stat.mount_id == root.stat().mount_id;
}

const char* kind_of(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFLNK:
      return "a symbolic link";
    case S_IFIFO:
      return "a fifo";
    case S_IFSOCK:
      return "a socket";
    case S_IFCHR:
    case S_IFBLK:
      return "a device";
    case S_IFDIR:
      return "a directory";
    default:
      return "not a regular file";
  }
}

// Empty for a file that may be read.
std::string refusal(const FileStat& stat, const RootDir& root, uint64_t max_size) {
  if (!S_ISREG(stat.mode)) return fmt::format("expected a regular file, found {}", kind_of(stat.mode));
  if (!on_the_guests_mount(stat, root))
    return "expected a file on the guest's own filesystem, found a mount point";
  if (stat.size > max_size) return fmt::format("expected at most {} bytes, found {}", max_size, stat.size);
  return {};
}

}  // namespace

std::optional<DatabaseDir> DatabaseDir::open(const RootDir& root, std::string_view path, TroubleLog& log) {
  auto fd = root.open_dir(path);
  if (!fd && (fd.error().code == ELOOP || fd.error().code == ENOTDIR))
    fd = root.open_in_root(path, O_PATH | O_DIRECTORY);
  if (!fd) {
    if (fd.error().code != ENOENT) log.add_passing(path, fd.error().message);
    return std::nullopt;
  }
  const auto stat = stat_fd(fd->get(), root.path());
  if (!stat || !on_the_guests_mount(*stat, root)) {
    log.add(path, "expected a directory on the guest's own filesystem, found a mount point");
    return std::nullopt;
  }
  DatabaseDir dir;
  dir.root_ = &root;
  dir.path_ = path;
  dir.fd_ = std::move(*fd);
  dir.stat_ = *stat;
  return dir;
}

std::optional<DatabaseFile> DatabaseDir::open_file(const std::string& name, uint64_t max_size,
                                                   TroubleLog& log) const {
  const UniqueFd pinned(::openat(fd_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!pinned) {
    if (errno != ENOENT)
      log.add_passing(file_path(name), problem_from_errno("open", file_path(name)).message);
    return std::nullopt;
  }
  const auto stat = stat_fd(pinned.get(), name);
  const std::string why = stat ? refusal(*stat, *root_, max_size) : stat.error().message;
  if (!why.empty()) {
    log.add(file_path(name), why);
    return std::nullopt;
  }
  auto fd = reopen_for_reading(pinned.get(), name);
  if (!fd) {
    log.add_passing(file_path(name), fd.error().message);
    return std::nullopt;
  }
  return DatabaseFile{std::move(*fd), *stat};
}

std::optional<std::string_view> DatabaseDir::read(const std::string& name, std::string& buffer,
                                                  TroubleLog& log) const {
  const auto file = open_file(name, kMaxTextFile, log);
  if (!file) return std::nullopt;
  // One byte more than it has is asked for: less is given only at its end, so one call reads a file that did
  // not grow.
  size_t filled = 0;
  for (;;) {
    if (buffer.size() < filled + file->stat.size + 1)
      buffer.resize(std::max(filled + file->stat.size + 1, 2 * filled));
    const ssize_t got = ::read(file->fd.get(), buffer.data() + filled, buffer.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      log.add_passing(file_path(name), problem_from_errno("read", file_path(name)).message);
      return std::nullopt;
    }
    const bool at_end = static_cast<size_t>(got) < buffer.size() - filled;
    filled += static_cast<size_t>(got);
    if (at_end && filled <= kMaxTextFile) return std::string_view(buffer.data(), filled);
    if (filled > kMaxTextFile) {
      log.add_passing(file_path(name), fmt::format("grew above {} bytes while it was read", kMaxTextFile));
      return std::nullopt;
    }
  }
}

bool DatabaseDir::has(const std::string& name) const {
  return stat_at(fd_.get(), name.c_str(), name).has_value();
}

std::vector<std::string> DatabaseDir::names(size_t most, TroubleLog& log) const {
  std::vector<std::string> names;
  const UniqueFd fd(::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) {
    log.add_passing(path_, problem_from_errno("list", path_).message);
    return names;
  }
  DirReader reader;
  DirEntry entry;
  reader.start(fd.get(), path_);
  while (names.size() < most && reader.next(entry)) names.emplace_back(entry.name);
  if (reader.problem() != nullptr) log.add_passing(path_, reader.problem()->message);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace vs::unify
