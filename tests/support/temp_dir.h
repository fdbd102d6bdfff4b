// Directories and loop filesystems that are gone with their scope.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tests/support/skip.h"

namespace vs::test {

// A fresh directory below $TMPDIR; removed with all it holds, immutable files too.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Removes `path` and all below, clearing immutable flags, by descriptors (deeper than PATH_MAX is fine).
void remove_tree(const std::string& path);
// The same for everything in the directory `path`, which stays.
void empty_tree(const std::string& path);

// A filesystem of the given type in a sparse file, mounted on `path()` until the end of the scope.
class LoopFilesystem {
 public:
  // Why this machine cannot do it (not root, no mkfs, no loop devices); nothing when it can.
  static std::optional<Obstacle> impossible(const std::string& type);
  // `mkfs_options` is for small disks and few inodes: "-N 300", say. Throws on failure.
  LoopFilesystem(const std::string& type, uint64_t mebibytes, const std::string& mkfs_options = "",
                 const std::string& mount_options = "");
  ~LoopFilesystem();
  LoopFilesystem(const LoopFilesystem&) = delete;
  LoopFilesystem& operator=(const LoopFilesystem&) = delete;
  const std::string& path() const { return mount_point_; }
  const std::string& type() const { return type_; }
  void remount(const std::string& options);

 private:
  TempDir dir_;
  std::string type_, mount_point_;
};

// FS_IMMUTABLE_FL of a file; false where it cannot be asked.
bool is_immutable(const std::string& path);
void set_immutable(const std::string& path, bool on);

std::string read_file(const std::string& path);
// Creates parents too.
void write_file(const std::string& path, const std::string& content);

}  // namespace vs::test

// First line of a test that needs a loop filesystem.
#define VS_NEEDS_FILESYSTEM(type) VS_STOP_IF(vs::test::LoopFilesystem::impossible(type))
