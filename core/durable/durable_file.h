// Files that are either the old or the new whole, also after a power cut, and appends that are on disk when
// we say so.
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"
#include "core/unique_fd.h"

namespace vs {

// Writes `content` under a temporary name beside `path`, fsyncs, renames it over `path`, fsyncs the
// directory.
Result write_durably(const std::string& path, std::string_view content, unsigned mode = 0600);
// The whole file; fails above `limit` bytes.
Expected<std::string> read_whole(const std::string& path, size_t limit = size_t{1} << 30);
// "" when it cannot be read: for files of /proc and of cgroups, which go while one looks.
std::string read_or_empty(const std::string& path);
// Creates the directory (and its parents), 0700, root's; an existing one must be a real directory that only
// its owner can write.
Expected<UniqueFd> open_private_dir(const std::string& path, bool create);
// Belongs to the user running this and is writable by nobody else.
Result check_private_dir(int fd, const std::string& path);
// write(2) until all is written.
Result write_all(int fd, std::string_view bytes, const std::string& object);

}  // namespace vs
