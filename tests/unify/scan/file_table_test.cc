#include "unify/scan/file_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace vs {
namespace {

FileStat some_stat() {
  FileStat stat;
  stat.ino = 5;
  stat.size = 6;
  stat.mtime_ns = 7;
  stat.ctime_ns = 8;
  stat.btime_ns = 9;
  stat.uid = 10;
  stat.gid = 11;
  stat.mode = 0100644;
  stat.nlink = 2;
  return stat;
}

TEST(FileTableTest, ARowIsOfTheIdentityOfItsStat) {
  EXPECT_TRUE(same_identity(row_of(some_stat()), some_stat()));
}

// Each alone makes it another file than the one that was looked at.
TEST(FileTableTest, AnyOtherNumberIsAnotherIdentity) {
  const FileRow row = row_of(some_stat());
  int changed = 0;
  const auto differs = [&](auto&& change) {
    FileStat stat = some_stat();
    change(stat);
    EXPECT_FALSE(same_identity(row, stat)) << "change " << changed;
    ++changed;
  };
  differs([](FileStat& s) { ++s.ino; });
  differs([](FileStat& s) { ++s.size; });
  differs([](FileStat& s) { ++s.mtime_ns; });
  differs([](FileStat& s) { ++s.ctime_ns; });
  differs([](FileStat& s) { ++s.btime_ns; });
  differs([](FileStat& s) { ++s.uid; });
  differs([](FileStat& s) { ++s.gid; });
  differs([](FileStat& s) { s.mode ^= 0111; });
  differs([](FileStat& s) { ++s.nlink; });
}

TEST(FileTableTest, GivesBackPathsOfAnyBytes) {
  FileTable table;
  const DirNumber root = table.add_dir(GuestNumber(0), "");
  const DirNumber odd = table.add_dir(GuestNumber(3), "a\nb/\xff");
  table.add_row(row_of(some_stat()), root, "top");
  table.add_row(row_of(some_stat()), odd, "\x1b");
  EXPECT_EQ(table.path(table.rows().front()), "top");
  EXPECT_EQ(table.path(table.rows().back()), "a\nb/\xff/\x1b");
  EXPECT_EQ(table.guest(table.rows().back()), GuestNumber(3));
}

struct Dir {
  GuestNumber guest;
  std::string path;
};

// The table as a scan fills it whose threads come to the directories in this order.
std::vector<std::string> sorted_paths(const std::vector<Dir>& dirs, std::vector<std::string> names) {
  FileTable table;
  for (const auto& dir : dirs) {
    std::rotate(names.begin(), names.begin() + 1, names.end());  // getdents has no order either
    const DirNumber at = table.add_dir(dir.guest, dir.path);
    for (const auto& name : names) {
      FileRow row = row_of(some_stat());
      row.tag = static_cast<uint32_t>(name.size());
      table.add_row(row, at, name);
    }
  }
  table.sort();
  std::vector<std::string> paths;
  for (const auto& row : table.rows()) {
    EXPECT_EQ(row.tag, table.name(row).size()) << "a row lost its tag";
    paths.push_back(std::to_string(table.guest(row).value) + ":" + table.path(row));
  }
  return paths;
}

TEST(FileTableTest, IsTheSameInWhateverOrderItWasFilled) {
  std::vector<Dir> dirs;
  for (GuestNumber guest; guest < GuestNumber(3); ++guest)
    for (const char* path : {"", "usr", "usr/bin", "usr-local", "\xff"}) dirs.push_back({guest, path});
  const std::vector<std::string> names = {"a", "bb",
                                          "\x80"
                                          "cc"};
  const auto expected = sorted_paths(dirs, names);
  std::mt19937 random(1);
  for (int i = 0; i < 20; ++i) {
    std::shuffle(dirs.begin(), dirs.end(), random);
    ASSERT_EQ(sorted_paths(dirs, names), expected);
  }
}

TEST(FileTableTest, TellsWhatItTakes) {
  FileTable table;
  const DirNumber dir = table.add_dir(GuestNumber(0), "usr/bin");
  for (int i = 0; i < 10000; ++i) table.add_row(row_of(some_stat()), dir, "some-name-" + std::to_string(i));
  EXPECT_GE(table.memory_bytes(), 10000 * (sizeof(FileRow) + 12));
  // The aim of unify.md with room for the growth of vectors.
  EXPECT_LE(table.memory_bytes(), 10000 * 200u);
}

}  // namespace
}  // namespace vs
