#include "core/tree/dir_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "core/unique_fd.h"
#include "tests/core/scratch.h"
#include "tests/support/skip.h"

namespace vs {
namespace {

UniqueFd open_dir(const std::string& path) {
  return UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

std::map<std::string, DirEntry> list(DirReader& reader, int fd) {
  std::map<std::string, DirEntry> entries;
  reader.start(fd, "here");
  for (DirEntry entry; reader.next(entry);)
    EXPECT_TRUE(entries.emplace(entry.name, entry).second) << "twice: " << entry.name;
  return entries;
}

TEST(DirReaderTest, GivesNameTypeAndInodeOfEveryEntryButTheDots) {
  const unit::ScratchDir dir;
  unit::write_file(dir / "file", "x");
  unit::make_dirs(dir / "dir");
  unit::make_symlink("file", dir / "link");
  unit::make_fifo(dir / "fifo");
  unit::write_file(dir / "na\nme\xff", "x");
  DirReader reader;
  const auto entries = list(reader, open_dir(dir.path()).get());
  ASSERT_EQ(entries.size(), 5u);
  EXPECT_EQ(reader.problem(), nullptr);
  EXPECT_TRUE(entries.contains("na\nme\xff"));
  for (const auto& [name, entry] : entries) EXPECT_EQ(entry.ino, unit::ino_of(dir / name)) << name;
  if (entries.at("file").type == DT_UNKNOWN) VS_SKIP(kFilesystem) << "this filesystem tells no types";
  EXPECT_EQ(entries.at("file").type, DT_REG);
  EXPECT_EQ(entries.at("dir").type, DT_DIR);
  EXPECT_EQ(entries.at("link").type, DT_LNK);
  EXPECT_EQ(entries.at("fifo").type, DT_FIFO);
}

// More than one buffer (64 KiB) of entries.
TEST(DirReaderTest, ReadsLargeDirectoriesWhole) {
  const unit::ScratchDir dir;
  const std::string stem(200, 'n');
  for (int i = 0; i < 1500; ++i) unit::write_file(dir / (stem + std::to_string(i)), "");
  DirReader reader;
  EXPECT_EQ(list(reader, open_dir(dir.path()).get()).size(), 1500u);
}

TEST(DirReaderTest, OneReaderServesOneDirectoryAfterTheOther) {
  const unit::ScratchDir dir;
  unit::write_file(dir / "a/one", "");
  unit::write_file(dir / "b/two", "");
  DirReader reader;
  reader.start(open_dir(dir / "a").get(), "a");  // left half way
  const UniqueFd b = open_dir(dir / "b");
  const auto entries = list(reader, b.get());
  EXPECT_EQ(entries.size(), 1u);
  EXPECT_TRUE(entries.contains("two"));
}

TEST(DirReaderTest, ARemovedDirectoryIsEmptyAndNoProblem) {
  const unit::ScratchDir dir;
  unit::make_dirs(dir / "gone");
  const UniqueFd fd = open_dir(dir / "gone");
  ASSERT_EQ(::rmdir((dir / "gone").c_str()), 0);
  DirReader reader;
  EXPECT_TRUE(list(reader, fd.get()).empty());
  EXPECT_EQ(reader.problem(), nullptr);
}

TEST(DirReaderTest, AnErrorEndsTheListingAndIsTold) {
  const unit::ScratchDir dir;
  unit::write_file(dir / "file", "x");
  const UniqueFd file(::open((dir / "file").c_str(), O_RDONLY | O_CLOEXEC));
  DirReader reader;
  EXPECT_TRUE(list(reader, file.get()).empty());
  ASSERT_NE(reader.problem(), nullptr);
  EXPECT_THAT(reader.problem()->message, testing::HasSubstr("list directory here"));
  const UniqueFd good = open_dir(dir.path());
  EXPECT_EQ(list(reader, good.get()).size(), 1u);
  EXPECT_EQ(reader.problem(), nullptr) << "the next directory starts without the trouble of the last";
}

}  // namespace
}  // namespace vs
