#include "core/store/file_class.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>

#include "core/escape.h"
#include "core/tree/file_time.h"

namespace vs {
namespace {

// Linux gives no more for the list of names nor for a value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
constexpr size_t kMostXattrBytes = 65536;

// By the descriptor; one that was opened with O_PATH is asked through the name that the kernel gives it,
// which is that very inode.
ssize_t list_xattrs(int fd, const std::string& name_of_fd, std::string& names) {
  const ssize_t size = ::flistxattr(fd, names.data(), names.size());
  return size < 0 && errno == EBADF ? ::listxattr(name_of_fd.c_str(), names.data(), names.size()) : size;
}

ssize_t get_xattr(int fd, const std::string& name_of_fd, const char* name, std::string& value) {
  const ssize_t size = ::fgetxattr(fd, name, value.data(), value.size());
  return size < 0 && errno == EBADF ? ::getxattr(name_of_fd.c_str(), name, value.data(), value.size()) : size;
}

// Calls `read` with larger and larger room until all has its place. Negative: errno tells.
template <class Read>
ssize_t with_room(std::string& bytes, size_t room, Read read) {
  for (;; room *= 8) {
    bytes.resize(room);
    const ssize_t size = read();
    if (size < 0 && errno == ERANGE && room < kMostXattrBytes) continue;
    bytes.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
    return size;
  }
}

bool has(const std::vector<Xattr>& xattrs, std::string_view name) {
  return std::any_of(xattrs.begin(), xattrs.end(), [&](const Xattr& x) { return x.name == name; });
}

}  // namespace

Expected<std::vector<Xattr>> read_xattrs(int fd, const std::string& object) {
  const std::string name_of_fd = "/proc/self/fd/" + std::to_string(fd);
  std::string names, value;
  if (with_room(names, 256, [&] { return list_xattrs(fd, name_of_fd, names); }) < 0) {
    if (errno == ENOTSUP) return std::vector<Xattr>{};
    return problem_from_errno("list extended attributes of", object);
  }
  std::vector<Xattr> xattrs;
  for (size_t at = 0; at < names.size();) {
    const std::string name(names.c_str() + at);
    at += name.size() + 1;
    const ssize_t size =
        with_room(value, 1024, [&] { return get_xattr(fd, name_of_fd, name.c_str(), value); });
    if (size < 0 && (errno == ENODATA || errno == ENOTSUP)) continue;  // removed meanwhile
    if (size < 0) return problem_from_errno("read extended attribute " + escaped(name) + " of", object);
    xattrs.push_back({name, value});
  }
  std::sort(xattrs.begin(), xattrs.end(), [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
  return xattrs;
}

uint64_t xattr_hash(const std::vector<Xattr>& xattrs) {
  if (xattrs.empty()) return 0;
  std::string all;
  for (const auto& [name, value] : xattrs) {
    all += name;
    all += '\0';
    all += std::to_string(value.size());
    all += '\0';
    all += value;
  }
  return XXH3_128bits(all.data(), all.size()).low64 | 1;  // never 0; stores and indexes hold it, so it stays
}

bool has_file_capability(const std::vector<Xattr>& xattrs) {
  return has(xattrs, "security.capability");
}

Expected<uint64_t> xattr_hash_of(int fd, const std::string& object) {
  const ssize_t size = ::flistxattr(fd, nullptr, 0);
  if (size == 0 || (size < 0 && errno == ENOTSUP)) return uint64_t{0};
  auto xattrs = read_xattrs(fd, object);
  if (!xattrs) return xattrs.error();
  return xattr_hash(*xattrs);
}

FileClass class_of(const FileStat& stat, uint64_t xattrs) {
  return {stat.uid, stat.gid, stat.mode, stat.mtime_ns, xattrs};
}

Expected<bool> has_class(int fd, const FileStat& stat, const FileClass& file_class,
                         const std::vector<Xattr>& xattrs, const std::string& object) {
  if (class_of(stat, file_class.xattrs) != file_class) return false;
  const ssize_t size = ::flistxattr(fd, nullptr, 0);
  if (size == 0 || (size < 0 && errno == ENOTSUP)) return xattrs.empty();
  const auto now = read_xattrs(fd, object);
  if (!now) return now.error();
  return *now == xattrs;
}

namespace {
// Its directory's default ACL. Labels of security modules are the host's own and stay.
Result take_inherited_acl_off(int fd, const std::vector<Xattr>& wanted, const std::string& object) {
  const auto now = read_xattrs(fd, object);
  if (!now) return now.error();
  for (const auto& present : *now)
    if (present.name.starts_with("system.posix_acl_") && !has(wanted, present.name) &&
        ::fremovexattr(fd, present.name.c_str()) != 0 && errno != ENODATA)
      return problem_from_errno("remove extended attribute " + present.name + " of", object);
  return Ok{};
}

Result set_times(int fd, int64_t mtime_ns, const std::string& object) {
  const timespec mtime = timespec_of(mtime_ns);
  // atime = mtime: a master tells no guest when another last read it, until relatime moves it.
  const timespec times[2] = {mtime, mtime};
  if (::futimens(fd, times) != 0) return problem_from_errno("set times of", object);
  return Ok{};
}
}  // namespace

Result give_class(int fd, const FileClass& file_class, const std::vector<Xattr>& xattrs,
                  const std::string& object) {
  if (::fchown(fd, file_class.uid, file_class.gid) != 0) return problem_from_errno("set owner of", object);
  if (::fchmod(fd, file_class.mode & 07777) != 0) return problem_from_errno("set mode of", object);
  if (auto taken_off = take_inherited_acl_off(fd, xattrs, object); !taken_off) return taken_off;
  for (const auto& [name, value] : xattrs)
    if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) != 0)
      return problem_from_errno("set extended attribute " + name + " of", object);
  return set_times(fd, file_class.mtime_ns, object);
}

Result restore_class(int fd, const FileClass& file_class, const std::vector<Xattr>& xattrs,
                     const std::string& object) {
  const auto now = read_xattrs(fd, object);
  if (!now) return now.error();
  for (const auto& present : *now)
    if (!has(xattrs, present.name) && ::fremovexattr(fd, present.name.c_str()) != 0)
      return problem_from_errno("remove extended attribute " + present.name + " of", object);
  return give_class(fd, file_class, xattrs, object);
}

}  // namespace vs
