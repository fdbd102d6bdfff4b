#include "tests/support/tree_snapshot.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "core/escape.h"
#include "tests/support/digest.h"

namespace vs::test {
namespace {

class Reader {
 public:
  TreeSnapshot read(const std::string& root) {
    const int fd = ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) fail("open", root);
    struct stat stat;
    if (::fstat(fd, &stat) != 0) fail("stat", root);
    tree_[""] = described(stat, fd, "");
    children(fd, "");
    ::close(fd);
    note_links(tree_, inode_of_);
    return std::move(tree_);
  }

 private:
  [[noreturn]] static void fail(const std::string& tried, const std::string& path) {
    throw std::runtime_error(fmt::format("snapshot: {} {}: {}", tried, escaped(path), std::strerror(errno)));
  }

  static TreeEntry described(const struct stat& stat, int fd, const std::string& path) {
    TreeEntry entry;
    entry.mode = stat.st_mode & 07777;
    entry.uid = stat.st_uid;
    entry.gid = stat.st_gid;
    entry.type = S_ISREG(stat.st_mode)    ? 'f'
                 : S_ISDIR(stat.st_mode)  ? 'd'
                 : S_ISLNK(stat.st_mode)  ? 'l'
                 : S_ISFIFO(stat.st_mode) ? 'p'
                 : S_ISSOCK(stat.st_mode) ? 's'
                 : S_ISCHR(stat.st_mode)  ? 'c'
                                          : 'b';
    if (entry.type != 'd') entry.mtime_ns = stat.st_mtim.tv_sec * 1'000'000'000LL + stat.st_mtim.tv_nsec;
    if (entry.type == 'c' || entry.type == 'b')
      entry.content = fmt::format("{}:{}", major(stat.st_rdev), minor(stat.st_rdev));
    if (entry.type == 'f') read_bytes(fd, path, entry);
    if (entry.type == 'f' || entry.type == 'd') read_xattrs(fd, path, entry);
    return entry;
  }

  static void read_bytes(int fd, const std::string& path, TreeEntry& entry) {
    std::string bytes;
    char buffer[65536];
    ssize_t got;
    while ((got = ::read(fd, buffer, sizeof buffer)) > 0) bytes.append(buffer, static_cast<size_t>(got));
    if (got < 0) fail("read", path);
    entry.size = bytes.size();
    entry.head = bytes.substr(0, 72);
    entry.content = sha256_hex(bytes);
  }

  static void read_xattrs(int fd, const std::string& path, TreeEntry& entry) {
    char names[65536];
    const ssize_t size = ::flistxattr(fd, names, sizeof names);
    if (size < 0 && errno != ENOTSUP) fail("list xattrs of", path);
    for (const char* name = names; name < names + size; name += std::strlen(name) + 1) {
      char value[65536];
      const ssize_t length = ::fgetxattr(fd, name, value, sizeof value);
      if (length < 0) fail(fmt::format("read xattr {} of", name), path);
      entry.xattrs[name] = std::string(value, static_cast<size_t>(length));
    }
  }

  void children(int dir, const std::string& path) {
    DIR* list = ::fdopendir(::fcntl(dir, F_DUPFD_CLOEXEC, 0));
    if (list == nullptr) fail("list", path);
    while (const dirent* entry = ::readdir(list))
      if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
        child(dir, entry->d_name, path.empty() ? entry->d_name : path + "/" + entry->d_name);
    ::closedir(list);
  }

  void child(int dir, const char* name, const std::string& path) {
    struct stat stat;
    if (::fstatat(dir, name, &stat, AT_SYMLINK_NOFOLLOW) != 0) fail("stat", path);
    int fd = -1;
    if (S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode)) {
      fd = ::openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_NONBLOCK | O_CLOEXEC);
      if (fd < 0) fail("open", path);
    }
    TreeEntry entry = described(stat, fd, path);
    if (entry.type == 'l') {
      char target[4096];
      const ssize_t length = ::readlinkat(dir, name, target, sizeof target);
      if (length < 0) fail("readlink", path);
      entry.content.assign(target, static_cast<size_t>(length));
    }
    if (entry.type != 'd' && stat.st_nlink > 1) inode_of_[path] = stat.st_ino;
    tree_[path] = std::move(entry);
    if (S_ISDIR(stat.st_mode)) children(fd, path);
    if (fd >= 0) ::close(fd);
  }

  TreeSnapshot tree_;
  std::map<std::string, uint64_t> inode_of_;
};

std::string in_words(const TreeEntry& entry) {
  return fmt::format("{} mode {:o} owner {}:{} size {} mtime {} '{}'", entry.type, entry.mode, entry.uid,
                     entry.gid, entry.size, entry.mtime_ns,
                     escaped(entry.type == 'f' ? entry.head : entry.content));
}

void compare(const std::string& path, const TreeEntry& expected, const TreeEntry& actual, Links links,
             std::vector<std::string>& out) {
  const std::string name = "'" + escaped(path) + "'";
  const auto say = [&](const std::string& what) { out.push_back(name + ": " + what); };
  if (expected.type != actual.type)
    return say(fmt::format("expected {}, found {}", in_words(expected), in_words(actual)));
  if (expected.content != actual.content || expected.size != actual.size)
    say(fmt::format("other bytes: expected {}, found {}", in_words(expected), in_words(actual)));
  if (expected.mode != actual.mode) say(fmt::format("mode {:o} became {:o}", expected.mode, actual.mode));
  if (expected.uid != actual.uid || expected.gid != actual.gid)
    say(fmt::format("owner {}:{} became {}:{}", expected.uid, expected.gid, actual.uid, actual.gid));
  if (expected.mtime_ns != TreeEntry::kAnyTime && expected.mtime_ns != actual.mtime_ns)
    say(fmt::format("mtime {} became {}", expected.mtime_ns, actual.mtime_ns));
  if (expected.xattrs != actual.xattrs) {
    for (const auto& [key, value] : expected.xattrs)
      if (!actual.xattrs.contains(key))
        say("lost xattr " + escaped(key));
      else if (actual.xattrs.at(key) != value)
        say("xattr " + escaped(key) + " changed");
    for (const auto& [key, value] : actual.xattrs)
      if (!expected.xattrs.contains(key)) say("got xattr " + escaped(key));
  }
  if (links == Links::exact && expected.first_name != actual.first_name)
    say(fmt::format("was one file with '{}', is with '{}'", escaped(expected.first_name),
                    escaped(actual.first_name)));
}

}  // namespace

void note_links(TreeSnapshot& tree, const std::map<std::string, uint64_t>& inode_of) {
  std::map<uint64_t, std::vector<std::string>> names;
  for (const auto& [path, ino] : inode_of) names[ino].push_back(path);
  for (const auto& [ino, paths] : names)
    if (paths.size() > 1)
      for (const auto& path : paths) tree[path].first_name = paths.front();
}

TreeSnapshot snapshot_of(const std::string& root) {
  return Reader().read(root);
}

std::vector<std::string> differences(const TreeSnapshot& expected, const TreeSnapshot& actual, Links links) {
  std::vector<std::string> out;
  for (const auto& [path, entry] : expected) {
    const auto it = actual.find(path);
    if (it == actual.end())
      out.push_back(fmt::format("'{}': gone; expected {}", escaped(path), in_words(entry)));
    else
      compare(path, entry, it->second, links, out);
    // Names that were one inode must still be one: each must now stand in the group of the first.
    if (links == Links::may_merge && it != actual.end() && !entry.first_name.empty() &&
        entry.first_name != path) {
      const auto first = actual.find(entry.first_name);
      if (first != actual.end() &&
          (it->second.first_name.empty() || it->second.first_name != first->second.first_name))
        out.push_back(
            fmt::format("'{}': no longer one file with '{}'", escaped(path), escaped(entry.first_name)));
    }
  }
  for (const auto& [path, entry] : actual)
    if (!expected.contains(path))
      out.push_back(fmt::format("'{}': appeared: {}", escaped(path), in_words(entry)));
  return out;
}

std::string difference_text(const TreeSnapshot& expected, const TreeSnapshot& actual, Links links) {
  const auto lines = differences(expected, actual, links);
  std::string text;
  for (size_t i = 0; i < lines.size() && i < 12; ++i) text += "\n  " + lines[i];
  if (lines.size() > 12) text += fmt::format("\n  ... and {} more", lines.size() - 12);
  return text;
}

}  // namespace vs::test
