#include "tests/backup/everything.h"

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
#include <cstring>
#include <stdexcept>

#include "core/escape.h"
#include "tests/support/digest.h"

namespace vs::test {
namespace {

class Collector {
 public:
  explicit Collector(const EverythingOptions& options) : options_(options) {}

  void tree(const std::string& name, const std::string& root) {
    const int fd = ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) fail("open " + root);
    directory(fd, name);
    ::close(fd);
  }

  Everything result() {
    for (const auto& [inode, names] : links_)
      for (const auto& name : names)
        if (names.size() > 1) all_[name] += " with " + names.front();
    return std::move(all_);
  }

 private:
  [[noreturn]] static void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
  }

  static std::string attributes(const std::string& proc) {
    std::string names(65536, '\0'), text;
    const ssize_t size = ::listxattr(proc.c_str(), names.data(), names.size());
    std::map<std::string, std::string> sorted;
    for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(std::strlen(names.c_str() + at)) + 1) {
      std::string value(65536, '\0');
      const ssize_t length = ::getxattr(proc.c_str(), names.c_str() + at, value.data(), value.size());
      if (length >= 0) sorted[names.c_str() + at] = value.substr(0, static_cast<size_t>(length));
    }
    for (const auto& [name, value] : sorted) text += " [" + name + "=" + escaped(value) + "]";
    return text;
  }

  void describe(int fd, const std::string& path, const struct stat& s) {
    const bool openable = S_ISREG(s.st_mode) || S_ISDIR(s.st_mode);
    std::string text = fmt::format("{:o} {}:{}", s.st_mode, s.st_uid, s.st_gid);
    text += fmt::format(" mtime {}.{:09}", s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    if (S_ISREG(s.st_mode)) text += fmt::format(" size {}", s.st_size);
    if (S_ISCHR(s.st_mode) || S_ISBLK(s.st_mode)) text += fmt::format(" device {}", s.st_rdev);
    text += attributes("/proc/self/fd/" + std::to_string(fd));
    if (S_ISLNK(s.st_mode)) {
      char target[5000];
      const ssize_t length = ::readlinkat(fd, "", target, sizeof target);
      text += " -> " + escaped(std::string(target, static_cast<size_t>(length)));
    }
    if (openable && options_.flags) {
      long flags = 0;
      fsxattr extended{};
      if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0)
        text += fmt::format(" flags {:x}", flags & (FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL |
                                                    FS_NOATIME_FL | FS_SYNC_FL));
      if (::ioctl(fd, FS_IOC_FSGETXATTR, &extended) == 0)
        text += fmt::format(" project {}", extended.fsx_projid);
    }
    if (S_ISREG(s.st_mode)) {
      const auto size = static_cast<size_t>(s.st_size);
      if (size < (64u << 20)) {
        std::string bytes(size, '\0');
        if (::pread(fd, bytes.data(), size, 0) != s.st_size) fail("read " + path);
        text += " " + sha256_hex(bytes).substr(0, 16);
      }
      for (off_t at = 0; options_.holes && at < s.st_size;) {
        const off_t data = ::lseek(fd, at, SEEK_DATA);
        if (data < 0) break;
        const off_t hole = ::lseek(fd, data, SEEK_HOLE);
        text += fmt::format(" {}-{}", data, hole);
        if (size >= (64u << 20)) {
          std::string bytes(static_cast<size_t>(hole - data), '\0');
          if (::pread(fd, bytes.data(), bytes.size(), data) < 0) fail("read " + path);
          text += " " + sha256_hex(bytes).substr(0, 16);
        }
        at = hole;
      }
    }
    all_[path] = text;
    if (!S_ISDIR(s.st_mode) && s.st_nlink > 1) links_[{s.st_dev, s.st_ino}].push_back(path);
  }

  void directory(int dir, const std::string& path) {
    struct stat s;
    if (::fstat(dir, &s) != 0) fail("stat " + path);
    describe(dir, path, s);
    DIR* list = ::fdopendir(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (list == nullptr) fail("list " + path);
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(list))
      if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
        names.emplace_back(entry->d_name);
    ::closedir(list);
    std::sort(names.begin(), names.end());
    for (const auto& name : names) {
      if (::fstatat(dir, name.c_str(), &s, AT_SYMLINK_NOFOLLOW) != 0) fail("stat " + name);
      if (S_ISSOCK(s.st_mode) && !options_.sockets) continue;
      const bool openable = S_ISREG(s.st_mode) || S_ISDIR(s.st_mode);
      const int fd = ::openat(
          dir, name.c_str(),
          openable ? O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC : O_PATH | O_NOFOLLOW | O_CLOEXEC);
      if (fd < 0) fail("open " + path + "/" + name);
      if (S_ISDIR(s.st_mode))
        directory(fd, path + "/" + name);
      else
        describe(fd, path + "/" + name, s);
      ::close(fd);
    }
  }

  const EverythingOptions& options_;
  Everything all_;
  std::map<std::pair<dev_t, ino_t>, std::vector<std::string>> links_;
};

}  // namespace

Everything everything_of(const std::map<std::string, std::string>& trees, const EverythingOptions& options) {
  Collector collector(options);
  for (const auto& [name, root] : trees) collector.tree(name, root);
  return collector.result();
}

std::string difference(const Everything& expected, const Everything& actual) {
  std::string text;
  int lines = 0;
  const auto say = [&](const std::string& line) {
    if (++lines <= 12) text += "\n  " + line;
  };
  for (const auto& [path, what] : expected) {
    const auto it = actual.find(path);
    if (it == actual.end())
      say(escaped(path) + ": missing");
    else if (it->second != what)
      say(escaped(path) + "\n    was " + escaped(what) + "\n    is  " + escaped(it->second));
  }
  for (const auto& [path, what] : actual)
    if (!expected.contains(path)) say(escaped(path) + ": appeared: " + escaped(what));
  if (lines > 12) text += fmt::format("\n  ... and {} more", lines - 12);
  return text;
}

}  // namespace vs::test
