#include "unify/file_class.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>

#include "unify/hasher.h"

namespace vs::unify {
namespace {

Expected<std::string> xattr_value(int fd, const std::string& name, const std::string& object) {
  std::string value;
  for (;;) {
    const ssize_t size = ::fgetxattr(fd, name.c_str(), nullptr, 0);
    if (size < 0) return problem_from_errno("read extended attribute " + name + " of", object);
    value.resize(static_cast<size_t>(size));
    const ssize_t got = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
    if (got < 0 && errno == ERANGE) continue;  // it grew meanwhile
    if (got < 0) return problem_from_errno("read extended attribute " + name + " of", object);
    value.resize(static_cast<size_t>(got));
    return value;
  }
}

}  // namespace

Expected<std::vector<Xattr>> read_xattrs(int fd, const std::string& object) {
  std::string names(256, '\0');  // enough for nearly all; longer lists are asked for again
  ssize_t got = ::flistxattr(fd, names.data(), names.size());
  while (got < 0 && errno == ERANGE) {
    got = ::flistxattr(fd, nullptr, 0);
    if (got < 0) break;
    names.resize(static_cast<size_t>(got));
    got = ::flistxattr(fd, names.data(), names.size());
  }
  if (got < 0 && errno == ENOTSUP) return std::vector<Xattr>{};
  if (got < 0) return problem_from_errno("list extended attributes of", object);
  names.resize(static_cast<size_t>(got));
  std::vector<Xattr> xattrs;
  for (size_t at = 0; at < names.size();) {
    const std::string name(names.c_str() + at);
    at += name.size() + 1;
    auto value = xattr_value(fd, name, object);
    if (!value) return value.error();
    xattrs.push_back({name, std::move(*value)});
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
  return xxh128(all).low | 1;  // never 0
}

bool has_file_capability(const std::vector<Xattr>& xattrs) {
  return std::any_of(xattrs.begin(), xattrs.end(), [](const Xattr& x) { return x.name == "security.capability"; });
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

namespace {
Result set_times(int fd, int64_t mtime_ns, const std::string& object) {
  timespec mtime{};
  mtime.tv_sec = mtime_ns / 1'000'000'000;
  mtime.tv_nsec = mtime_ns % 1'000'000'000;
  if (mtime.tv_nsec < 0) {
    mtime.tv_nsec += 1'000'000'000;
    --mtime.tv_sec;
  }
  // atime = mtime: a master tells no guest when another last read it, until relatime moves it.
  const timespec times[2] = {mtime, mtime};
  if (::futimens(fd, times) != 0) return problem_from_errno("set times of", object);
  return Ok{};
}
}  // namespace

Result give_class(int fd, const FileClass& file_class, const std::vector<Xattr>& xattrs, const std::string& object) {
  if (::fchown(fd, file_class.uid, file_class.gid) != 0) return problem_from_errno("set owner of", object);
  if (::fchmod(fd, file_class.mode & 07777) != 0) return problem_from_errno("set mode of", object);
  for (const auto& [name, value] : xattrs)
    if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) != 0)
      return problem_from_errno("set extended attribute " + name + " of", object);
  return set_times(fd, file_class.mtime_ns, object);
}

Result restore_class(int fd, const FileClass& file_class, const std::vector<Xattr>& xattrs, const std::string& object) {
  const auto now = read_xattrs(fd, object);
  if (!now) return now.error();
  for (const auto& present : *now)
    if (std::none_of(xattrs.begin(), xattrs.end(), [&](const Xattr& x) { return x.name == present.name; }) &&
        ::fremovexattr(fd, present.name.c_str()) != 0)
      return problem_from_errno("remove extended attribute " + present.name + " of", object);
  return give_class(fd, file_class, xattrs, object);
}

}  // namespace vs::unify
