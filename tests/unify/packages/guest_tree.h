// A small directory tree that plays a guest, gone with its owner.
#pragma once

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/tree/root_dir.h"
#include "tests/support/skip.h"
#include "unify/packages/load_packages.h"
#include "unify/packages/package_index.h"

namespace vs::unify {

class TempDir {
 public:
  TempDir() {
    // VS_TEST_TMP: another filesystem (xfs, btrfs: the private copy of a database is a clone there).
    const char* base = std::getenv("VS_TEST_TMP");
    std::string name = std::string(base != nullptr ? base : "/tmp") + "/vs-packages-test.XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class GuestTree {
 public:
  std::string path(const std::string& name = "") const {
    return name.empty() ? dir_.path() : dir_.path() + "/" + name;
  }
  void dir(const std::string& name) { std::filesystem::create_directories(path(name)); }
  void file(const std::string& name, const std::string& content = "x") {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    std::ofstream(path(name), std::ios::binary) << content;
  }
  void symlink(const std::string& target, const std::string& name) {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    ASSERT_EQ(::symlink(target.c_str(), path(name).c_str()), 0);
  }
  void fifo(const std::string& name) {
    std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
    ASSERT_EQ(::mkfifo(path(name).c_str(), 0644), 0);
  }
  uint64_t ino(const std::string& name) const {
    struct ::stat stat;
    return ::lstat(path(name).c_str(), &stat) == 0 ? stat.st_ino : 0;
  }
  RootDir root() const { return RootDir(dir_.path()); }

  // Everything that reading must not change.
  std::string listing() const { return listing_of(dir_.path()); }
  static std::string listing_of(const std::string& top) {
    std::vector<std::string> lines;
    const auto add = [&](const std::string& name) {
      struct ::stat s;
      if (::lstat(name.c_str(), &s) != 0) return;
      lines.push_back(
          fmt::format("{} ino {} mode {:o} uid {} nlink {} size {} mtime {}.{} ctime {}.{} atime {}.{}", name,
                      s.st_ino, s.st_mode, s.st_uid, s.st_nlink, s.st_size, s.st_mtim.tv_sec,
                      s.st_mtim.tv_nsec, s.st_ctim.tv_sec, s.st_ctim.tv_nsec,
                      S_ISREG(s.st_mode) ? s.st_atim.tv_sec : 0, S_ISREG(s.st_mode) ? s.st_atim.tv_nsec : 0));
    };
    add(top);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(top)) add(entry.path().string());
    std::sort(lines.begin(), lines.end());
    return fmt::format("{}", fmt::join(lines, "\n"));
  }

 private:
  TempDir dir_;
};

// What the index says about a path of the guest, found by the inode number of its real directory.
inline const PackageFile* look_up(const PackageIndex& index, const GuestTree& guest,
                                  const std::string& path) {
  const auto [dir, name] = split_path(path);
  const std::string real = std::filesystem::canonical(guest.path(std::string(dir))).string();
  struct ::stat stat;
  if (::stat(real.c_str(), &stat) != 0) return nullptr;
  return index.find(index.dir(stat.st_ino), name);
}

inline std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<uint8_t>(c));
  return text;
}

inline std::string all(const std::vector<PackageTrouble>& troubles) {
  std::string text;
  for (const PackageTrouble& trouble : troubles) text += trouble.file + ": " + trouble.detail + "\n";
  return text;
}

// Where the kernel has no openat2 (or VS_NO_OPENAT2=1 says so) what lies behind a guest's symlink is not
// found.
#define VS_NEED_RESOLVE_IN_ROOT()                                                    \
  if (const char* off = std::getenv("VS_NO_OPENAT2"); off != nullptr && *off == '1') \
  VS_SKIP(kNoOpenat2) << "symlinks of a guest are not resolved without openat2"

}  // namespace vs::unify
