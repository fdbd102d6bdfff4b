// What tests of files need: a directory that is gone with its owner, and short ways to make and read files.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "core/unique_fd.h"

namespace vs::unit {

// A fresh directory below $TMPDIR or, without one, the build directory: there, unlike below /tmp, is a
// filesystem that knows the immutable flag. Removed with all it holds, sealed or deeper than PATH_MAX.
class ScratchDir {
 public:
  ScratchDir();
  ~ScratchDir();
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// All of these throw std::runtime_error when the system refuses: a test that cannot be set up must not pass.
void write_file(const std::string& path, std::string_view content,
                unsigned mode = 0644);  // makes parents; replaces nothing but the content
std::string read_file(const std::string& path);
void make_dirs(const std::string& path);
void make_symlink(const std::string& target, const std::string& path);
void make_fifo(const std::string& path);
struct ::stat lstat_of(const std::string& path);
bool exists(const std::string& path);  // a dangling symlink does
uint64_t ino_of(const std::string& path);
void set_mtime(const std::string& path, int64_t ns);

// A chain of `depth` directories "name/name/...", made step by step, so it may be longer than PATH_MAX;
// returns the relative path and, in `deepest`, a descriptor of the last one.
std::string make_deep(const std::string& top, const std::string& name, size_t depth, UniqueFd& deepest);

bool is_root();

}  // namespace vs::unit
