#include "core/tree/listing.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "core/escape.h"

namespace vs {
namespace {

// Of a long path both ends are shown, this many bytes each.
constexpr size_t kShownEnd = 500;

}  // namespace

bool vanished(const Problem& problem) {
  return problem.code == ENOENT || problem.code == ENOTDIR || problem.code == ELOOP || problem.code == ESTALE;
}

size_t depth_of(std::string_view path) {
  return path.empty() ? 0 : static_cast<size_t>(std::count(path.begin(), path.end(), '/')) + 1;
}

std::string shown_path(const RootDir& root, std::string_view path) {
  if (path.size() <= 2 * kShownEnd) return root.host_path(path);
  return root.host_path(std::string(path.substr(0, kShownEnd)) + "[...]" +
                        std::string(path.substr(path.size() - kShownEnd)));
}

Problem too_deep(const RootDir& root, std::string_view path, size_t limit) {
  return {ELOOP, "deeper than " + std::to_string(limit) +
                     " directories, not entered: " + escaped(shown_path(root, path))};
}

Problem too_long(const RootDir& root, std::string_view path) {
  return {ENAMETOOLONG, "a path of more than " + std::to_string(kLongestDirectory) +
                            " bytes, not entered: " + escaped(shown_path(root, path))};
}

uint8_t type_of(const FileStat& stat) {
  return static_cast<uint8_t>(IFTODT(stat.mode));
}

uint8_t type_of(const DirEntry& entry, int dir) {
  if (entry.type != DT_UNKNOWN) return entry.type;
  const auto stat = stat_at(dir, entry.name.data(), "");
  return stat ? type_of(*stat) : uint8_t{DT_UNKNOWN};
}

Expected<OpenDirectory> open_to_list(const RootDir& root, const std::string& path) {
  auto fd = root.open(path, O_RDONLY | O_DIRECTORY | O_NOATIME);
  if (!fd) return fd.error();
  const auto stat = stat_fd(fd->get(), root.path());
  if (!stat) return stat.error();
  return OpenDirectory{std::move(*fd), *stat};
}

bool is_trouble(const Problem& problem) {
  return !vanished(problem) && problem.code != EXDEV;
}

}  // namespace vs
