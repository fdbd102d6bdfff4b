#include "core/durable/durable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "core/full_io.h"
#include "core/tree/root_dir.h"

namespace vs {

Result write_all(int fd, std::string_view bytes, const std::string& object) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return problem_from_errno("write", object);
    bytes.remove_prefix(static_cast<size_t>(wrote));
  }
  return Ok{};
}

Result write_durably(const std::string& path, std::string_view content, unsigned mode) {
  const std::string temporary = path + ".new";
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd) return problem_from_errno("create", temporary);
  auto written = write_all(fd.get(), content, temporary);
  if (written && ::fsync(fd.get()) != 0) written = problem_from_errno("fsync", temporary);
  if (written && ::rename(temporary.c_str(), path.c_str()) != 0)
    written = problem_from_errno("rename to", path);
  if (!written) {
    ::unlink(temporary.c_str());
    return written;
  }
  const auto [dir_name, name] = split_path(path);
  const std::string parent(dir_name.empty() ? (path.starts_with('/') ? "/" : ".") : dir_name);
  UniqueFd dir(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir || ::fsync(dir.get()) != 0) return problem_from_errno("fsync directory", parent);
  return Ok{};
}

Expected<std::string> read_whole(const std::string& path, size_t limit) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return problem_from_errno("open for reading", path);
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = read_full(fd.get(), buffer, sizeof buffer);
    if (got < 0) return problem_from_errno("read", path);
    if (got == 0) return content;
    content.append(buffer, static_cast<size_t>(got));
    if (content.size() > limit) return problem_from(EFBIG, "read", path);
  }
}
std::string read_or_empty(const std::string& path) {
  auto text = read_whole(path);
  return text ? std::move(*text) : std::string();
}

Expected<UniqueFd> open_private_dir(const std::string& given, bool create) {
  // A slash behind it would make it its own parent, created for all to read, and O_NOFOLLOW without effect.
  std::string path = given;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (create) {
    std::error_code ignored;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
      return problem_from_errno("create directory", path);
  }
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return problem_from_errno("open directory", path);
  if (auto checked = check_private_dir(fd.get(), path); !checked) return checked.error();
  return fd;
}

Result check_private_dir(int fd, const std::string& path) {
  struct ::stat found;
  if (::fstat(fd, &found) != 0) return problem_from_errno("stat", path);
  if (found.st_uid != ::geteuid() || (found.st_mode & 022) != 0)
    return Problem{
        EPERM, "directory " + path + " must belong to the user running this and be writable by nobody else"};
  return Ok{};
}

}  // namespace vs
