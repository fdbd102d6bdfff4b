#include "tests/backup/model/random_guests.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <utility>

#include "core/unique_fd.h"
#include "tests/support/temp_dir.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kNames = {
    "a", "b", "c", "dir", "etc", "log", "new\nline", "\xff\xfe", "-x", "with space", std::string(200, 'n'),
};
const std::vector<timespec> kTimes = {
    {0, 0}, {-2, 250'000'000}, {1'000'000'000, 1}, {5'000'000'000, 999'999'999}};

struct stat stat_of(const std::string& path) {
  struct stat s {};
  ::lstat(path.c_str(), &s);
  return s;
}

void set_times(const std::string& path, const timespec& mtime) {
  const timespec times[2] = {{0, UTIME_OMIT}, mtime};
  ::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW);
}

UniqueFd open_file(const std::string& path, int flags) {
  return UniqueFd(::open(path.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644));
}

}  // namespace

RandomGuests::RandomGuests(std::map<std::string, std::string> trees, Dice& dice)
    : trees_(std::move(trees)), dice_(dice) {}

RandomGuests::~RandomGuests() {
  forget_mappings({});
}

void RandomGuests::change(size_t steps) {
  using Step = void (RandomGuests::*)();
  // As often as they stand here.
  static constexpr Step kSteps[] = {
      &RandomGuests::write_file, &RandomGuests::write_file,   &RandomGuests::write_file,
      &RandomGuests::write_at,   &RandomGuests::write_at,     &RandomGuests::append,
      &RandomGuests::truncate,   &RandomGuests::same_again,   &RandomGuests::replace,
      &RandomGuests::replace,    &RandomGuests::move,         &RandomGuests::move,
      &RandomGuests::exchange,   &RandomGuests::link,         &RandomGuests::link,
      &RandomGuests::share,      &RandomGuests::share,        &RandomGuests::share,
      &RandomGuests::unshare,    &RandomGuests::remove,       &RandomGuests::remove,
      &RandomGuests::make_node,  &RandomGuests::make_node,    &RandomGuests::make_node,
      &RandomGuests::map,        &RandomGuests::another_kind, &RandomGuests::permissions,
      &RandomGuests::owner,      &RandomGuests::attribute,    &RandomGuests::attribute,
      &RandomGuests::touch,      &RandomGuests::touch,        &RandomGuests::flag,
  };
  for (size_t i = 0; i < steps; ++i) (this->*kSteps[dice_.below(std::size(kSteps))])();
  for (const auto& mapping : mappings_)
    if (dice_.one_in(2)) write_through(mapping);
}

std::string RandomGuests::any_tree() {
  return std::next(trees_.begin(), static_cast<ptrdiff_t>(dice_.below(trees_.size())))->second;
}

std::vector<std::string> RandomGuests::paths_in(const std::string& tree) const {
  std::vector<std::string> paths;
  for (const auto& entry : fs::recursive_directory_iterator(tree)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string RandomGuests::any(char type) {
  const std::string tree = any_tree();
  auto paths = paths_in(tree);
  std::erase_if(paths, [&](const std::string& path) {
    const mode_t mode = stat_of(path).st_mode;
    return (type == 'f' && !S_ISREG(mode)) || (type == 'd' && !S_ISDIR(mode));
  });
  return paths.empty() ? "" : dice_.pick(paths);
}

std::string RandomGuests::new_name() {
  const std::string inside = dice_.one_in(3) ? "" : any('d');
  return (inside.empty() ? any_tree() : inside) + "/" + dice_.pick(kNames);
}

size_t RandomGuests::size() {
  static const std::vector<size_t> kSizes = {0, 1, 100, 100, 512, 513, 4096, 5000, 5000, 20'000, 70'000};
  // A large file is stored in parts: 4 MiB.
  return dice_.one_in(60) ? (size_t{4} << 20) + dice_.below(100'000) : dice_.pick(kSizes);
}

// --- Bytes ------------------------------------------------------------------------------------------------

void RandomGuests::write_file() {
  const std::string bytes = dice_.bytes(size());
  const UniqueFd fd = open_file(new_name(), O_WRONLY | O_CREAT | O_TRUNC);
  if (fd) ::write(fd.get(), bytes.data(), bytes.size());
}

// In place, and now and then with the time that it had.
void RandomGuests::write_at() {
  const std::string path = any('f');
  const struct stat s = stat_of(path);
  const UniqueFd fd = open_file(path, O_WRONLY);
  const size_t at = dice_.below(static_cast<size_t>(s.st_size) + 1);
  const std::string bytes = dice_.bytes(1 + dice_.below(50));
  const bool hide = dice_.one_in(2);
  if (!fd) return;
  ::pwrite(fd.get(), bytes.data(), std::min(bytes.size(), static_cast<size_t>(s.st_size) - at),
           static_cast<off_t>(at));
  if (hide) set_times(path, s.st_mtim);
}

void RandomGuests::append() {
  const std::string bytes = dice_.bytes(size());
  const UniqueFd fd = open_file(any('f'), O_WRONLY | O_APPEND);
  if (fd) ::write(fd.get(), bytes.data(), bytes.size());
}

// Shorter, or longer by a hole.
void RandomGuests::truncate() {
  const std::string path = any('f');
  const auto to = static_cast<off_t>(dice_.one_in(20) ? size_t{9} << 20 : size());
  const UniqueFd fd = open_file(path, O_WRONLY);
  if (fd) ::ftruncate(fd.get(), to);
}

void RandomGuests::same_again() {
  const std::string path = any('f');
  const UniqueFd fd = open_file(path, O_RDWR);
  if (!fd) return;
  const std::string bytes = read_file(path);
  ::pwrite(fd.get(), bytes.data(), bytes.size(), 0);
}

// As a package manager does it: another inode under the name; now and then with the old one's size and time.
void RandomGuests::replace() {
  const std::string path = any('f'), next = path + "~";
  if (path.empty()) return;
  const struct stat s = stat_of(path);
  const bool alike = dice_.one_in(2);
  const std::string bytes = dice_.bytes(alike ? static_cast<size_t>(s.st_size) : size());
  {
    const UniqueFd fd = open_file(next, O_WRONLY | O_CREAT | O_EXCL);
    if (!fd) return;
    ::write(fd.get(), bytes.data(), bytes.size());
  }
  if (alike) set_times(next, s.st_mtim);
  if (::rename(next.c_str(), path.c_str()) != 0) ::unlink(next.c_str());
}

// Another mapping of a file, which stays until the end and is written to again and again without a call.
void RandomGuests::map() {
  const std::string path = any('f');
  const auto length = static_cast<size_t>(stat_of(path).st_size);
  UniqueFd fd = open_file(path, O_RDWR);
  if (!fd || length == 0 || mappings_.size() > 5) return;
  void* bytes = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (bytes == MAP_FAILED) return;
  mappings_.push_back({fd.release(), static_cast<char*>(bytes), length});
  write_through(mappings_.back());
}

void RandomGuests::write_through(const Mapping& mapping) {
  struct stat s {};
  ::fstat(mapping.fd, &s);
  const size_t end = std::min(mapping.size, static_cast<size_t>(s.st_size));  // there is nothing behind it
  if (end != 0) mapping.bytes[dice_.below(end)] = static_cast<char>(dice_.below(256));
}

// Of this inode, or all.
void RandomGuests::forget_mappings(std::optional<ino_t> inode) {
  std::erase_if(mappings_, [&](const Mapping& mapping) {
    struct stat s {};
    if (inode && (::fstat(mapping.fd, &s) != 0 || s.st_ino != *inode)) return false;
    ::munmap(mapping.bytes, mapping.size);
    ::close(mapping.fd);
    return true;
  });
}

// --- Names ------------------------------------------------------------------------------------------------

void RandomGuests::move() {
  const std::string from = any(dice_.one_in(3) ? 'd' : '*'), to = new_name();
  ::rename(from.c_str(), to.c_str());
}

void RandomGuests::exchange() {
  const std::string one = any('*'), other = any('*');
  ::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE);
}

void RandomGuests::link() {
  const std::string from = any(dice_.one_in(4) ? '*' : 'f'), to = new_name();
  ::link(from.c_str(), to.c_str());
}

// As vunify does it: the inode gets one more name, in any guest, in place of what is there, and is sealed for
// all but the moment.
void RandomGuests::share() {
  const std::string from = any('f'), to = dice_.one_in(2) ? any('f') : new_name();
  if (from.empty() || from == to) return;
  const bool seals = is_immutable(from) || dice_.one_in(2);
  set_immutable(from, false);
  put_link(from, to);
  if (!seals || stat_of(from).st_nlink < 2) return;
  forget_mappings(stat_of(from).st_ino);  // nobody may write to what is sealed
  set_immutable(from, true);
}

// Something else gets the name `to`. What had it before is as sealed as it was, under its other names.
void RandomGuests::put_link(const std::string& from, const std::string& to) {
  const std::string next = to + "~";
  const UniqueFd before = open_file(to, O_RDONLY);
  int flags = 0;
  const bool sealed =
      before && ::ioctl(before.get(), FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_IMMUTABLE_FL) != 0;
  set_immutable(to, false);
  if (::link(from.c_str(), next.c_str()) == 0) ::rename(next.c_str(), to.c_str());
  ::unlink(next.c_str());  // where it could not be renamed, or both were one inode
  if (sealed) ::ioctl(before.get(), FS_IOC_SETFLAGS, &flags);
}

// The name gets a copy of its own, that is all alike.
void RandomGuests::unshare() {
  const std::string path = any('f'), copy = path + "-copy";
  const struct stat s = stat_of(path);
  if (path.empty() || s.st_nlink < 2) return;
  vs::test::write_file(copy, read_file(path));
  ::chown(copy.c_str(), s.st_uid, s.st_gid);
  ::chmod(copy.c_str(), s.st_mode & 07777);
  set_times(copy, s.st_mtim);
  put_link(copy, path);
  ::unlink(copy.c_str());
}

void RandomGuests::remove() {
  const std::string path = any('*');
  std::error_code error;  // what is sealed stays
  if (!path.empty()) fs::remove_all(path, error);
}

void RandomGuests::make_node() {
  node_at(new_name(), dice_.below(6));
}

void RandomGuests::another_kind() {
  const std::string path = any('*');
  std::error_code error;
  if (!path.empty() && fs::remove_all(path, error) != 0) node_at(path, dice_.below(6));
}

void RandomGuests::node_at(const std::string& path, size_t kind) {
  static const std::vector<std::string> kPlaces = {"a", "../etc", "/nowhere", std::string(900, 'x')};
  static constexpr mode_t kKinds[] = {S_IFIFO, S_IFSOCK, S_IFCHR};
  if (kind < 2)
    ::mkdir(path.c_str(), 0755);
  else if (kind == 2)
    ::symlink(dice_.pick(kPlaces).c_str(), path.c_str());
  else
    ::mknod(path.c_str(), kKinds[kind - 3] | 0644,
            kind == 5 ? makedev(1, 3 + static_cast<unsigned>(dice_.below(5))) : 0);
}

// --- What else an inode is --------------------------------------------------------------------------------

void RandomGuests::permissions() {
  static const std::vector<mode_t> kModes = {0, 0600, 0644, 0755, 01777, 02755, 04755};
  const std::string path = any('*');
  const mode_t mode = dice_.pick(kModes);
  if (!path.empty() && !S_ISLNK(stat_of(path).st_mode)) ::chmod(path.c_str(), mode);
}

void RandomGuests::owner() {
  static const std::vector<uid_t> kOwners = {0, 33, 1000, 4'000'000'000};
  const std::string path = any('*');
  ::lchown(path.c_str(), dice_.pick(kOwners), dice_.pick(kOwners));
}

void RandomGuests::attribute() {
  static const std::vector<std::string> kKeys = {"user.a", "user.b=c", "trusted.d"};
  static const std::vector<size_t> kSizes = {0, 1, 20, 1000};
  const std::string path = any('*'), key = dice_.pick(kKeys), value = dice_.bytes(dice_.pick(kSizes));
  if (dice_.one_in(3))
    ::lremovexattr(path.c_str(), key.c_str());
  else
    ::lsetxattr(path.c_str(), key.c_str(), value.data(), value.size(), 0);
}

void RandomGuests::touch() {
  const std::string path = dice_.one_in(8) ? any_tree() : any('*');
  set_times(path, dice_.pick(kTimes));
}

void RandomGuests::flag() {
  const UniqueFd fd = open_file(any('*'), O_RDONLY);
  int flags = 0;
  if (!fd || ::ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0 || (flags & FS_IMMUTABLE_FL) != 0) return;
  flags ^= FS_NODUMP_FL;
  ::ioctl(fd.get(), FS_IOC_SETFLAGS, &flags);
}

}  // namespace vs::test
