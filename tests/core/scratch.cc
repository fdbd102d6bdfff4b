#include "tests/core/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>

namespace vs::unit {
namespace {

[[noreturn]] void refused(const std::string& tried) {
  throw std::runtime_error("test set-up: " + tried + ": " + std::strerror(errno));
}

void unseal(int dir, const char* name) {
  const UniqueFd fd(::openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  long flags = 0;
  if (!fd || ::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0 || (flags & FS_IMMUTABLE_FL) == 0) return;
  flags &= ~static_cast<long>(FS_IMMUTABLE_FL);
  ::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags);
}

// Empties a directory without ever needing a path; two descriptors a level.
void empty(int dir) {
  DIR* list = ::fdopendir(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (list == nullptr) return;
  while (const dirent* entry = ::readdir(list)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (entry->d_type == DT_REG) unseal(dir, name.c_str());
    if (::unlinkat(dir, name.c_str(), 0) == 0) continue;
    const UniqueFd below(::openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (below) empty(below.get());
    ::unlinkat(dir, name.c_str(), AT_REMOVEDIR);
  }
  ::closedir(list);
}

}  // namespace

ScratchDir::ScratchDir() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur =
        limit.rlim_max;  // deep trees, and what the code under test raises itself in the programs
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  const char* place = std::getenv("TMPDIR");
  path_ = std::string(place != nullptr && *place != 0 ? place : VS_BINARY_DIR) + "/vs-test.XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) refused("make " + path_);
}

ScratchDir::~ScratchDir() {
  {
    const UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd) empty(fd.get());
  }
  ::rmdir(path_.c_str());
}

void write_file(const std::string& path, std::string_view content, unsigned mode) {
  make_dirs(std::filesystem::path(path).parent_path());
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd || ::fchmod(fd.get(), mode) != 0) refused("make " + path);
  for (size_t done = 0; done < content.size();) {
    const ssize_t wrote = ::write(fd.get(), content.data() + done, content.size() - done);
    if (wrote < 0) refused("write " + path);
    done += static_cast<size_t>(wrote);
  }
}

std::string read_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!fd) refused("open " + path);
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0) refused("read " + path);
    if (got == 0) return content;
    content.append(buffer, static_cast<size_t>(got));
  }
}

void make_dirs(const std::string& path) {
  std::filesystem::create_directories(path);
}

void make_symlink(const std::string& target, const std::string& path) {
  make_dirs(std::filesystem::path(path).parent_path());
  if (::symlink(target.c_str(), path.c_str()) != 0) refused("make symlink " + path);
}

void make_fifo(const std::string& path) {
  make_dirs(std::filesystem::path(path).parent_path());
  if (::mkfifo(path.c_str(), 0644) != 0) refused("make fifo " + path);
}

struct ::stat lstat_of(const std::string& path) {
  struct ::stat found;
  if (::lstat(path.c_str(), &found) != 0) refused("stat " + path);
  return found;
}

bool exists(const std::string& path) {
  struct ::stat found;
  return ::lstat(path.c_str(), &found) == 0;
}

uint64_t ino_of(const std::string& path) {
  return lstat_of(path).st_ino;
}

void set_mtime(const std::string& path, int64_t ns) {
  const timespec times[2] = {{0, UTIME_OMIT}, {ns / 1'000'000'000, ns % 1'000'000'000}};
  if (::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) refused("set time of " + path);
}

std::string make_deep(const std::string& top, const std::string& name, size_t depth, UniqueFd& deepest) {
  std::string path;
  deepest.reset(::open(top.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (size_t i = 0; i < depth; ++i) {
    if (::mkdirat(deepest.get(), name.c_str(), 0755) != 0) refused("make directory " + name);
    deepest.reset(::openat(deepest.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!deepest) refused("open directory " + name);
    path += (path.empty() ? "" : "/") + name;
  }
  return path;
}

bool is_root() {
  return ::geteuid() == 0;
}

}  // namespace vs::unit
