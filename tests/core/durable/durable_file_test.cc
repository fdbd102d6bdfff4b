#include "core/durable/durable_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "tests/core/scratch.h"
#include "tests/support/skip.h"

namespace vs {
namespace {

using testing::HasSubstr;

class DurableFileTest : public testing::Test {
 protected:
  unsigned mode(const std::string& path) const { return unit::lstat_of(path).st_mode & 07777; }
  const unit::ScratchDir dir_;
};

TEST_F(DurableFileTest, WritesTheWholeContentForItsOwnerAlone) {
  const std::string content(100'000, 'c');
  ASSERT_TRUE(write_durably(dir_ / "file", content));
  EXPECT_EQ(unit::read_file(dir_ / "file"), content);
  EXPECT_EQ(mode(dir_ / "file"), 0600u);
}

TEST_F(DurableFileTest, ReplacesAFileAndLeavesNothingBeside) {
  unit::write_file(dir_ / "file", "a longer old content");
  unit::write_file(dir_ / "file.new", "left by a crash, and longer than what is written now");
  ASSERT_TRUE(write_durably(dir_ / "file", "new"));
  EXPECT_EQ(unit::read_file(dir_ / "file"), "new");
  EXPECT_FALSE(unit::exists(dir_ / "file.new"));
}

TEST_F(DurableFileTest, KeepsTheOldFileWhenTheNewOneCannotBeWritten) {
  unit::write_file(dir_ / "file", "old");
  rlimit small{4096, 4096}, before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  small.rlim_max = before.rlim_max;
  std::signal(SIGXFSZ, SIG_IGN);
  ::setrlimit(RLIMIT_FSIZE, &small);
  const auto written = write_durably(dir_ / "file", std::string(100'000, 'x'));
  ::setrlimit(RLIMIT_FSIZE, &before);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, EFBIG);
  EXPECT_EQ(unit::read_file(dir_ / "file"), "old");
  EXPECT_FALSE(unit::exists(dir_ / "file.new"));
}

TEST_F(DurableFileTest, FollowsNoSymlinkThatStandsInItsWay) {
  unit::write_file(dir_ / "precious", "precious");
  unit::make_symlink("precious", dir_ / "file.new");
  EXPECT_FALSE(write_durably(dir_ / "file", "x"));
  EXPECT_EQ(unit::read_file(dir_ / "precious"), "precious");
}

TEST_F(DurableFileTest, AProblemNamesTheFile) {
  const auto written = write_durably(dir_ / "none/file", "x");
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message, HasSubstr(dir_ / "none/file"));
}

TEST_F(DurableFileTest, ReadsUpToALimit) {
  unit::write_file(dir_ / "file", std::string(100, 'x'));
  EXPECT_EQ(read_whole(dir_ / "file")->size(), 100u);
  EXPECT_EQ(read_whole(dir_ / "file", 100)->size(), 100u);
  EXPECT_EQ(read_whole(dir_ / "file", 99).error().code, EFBIG);
  EXPECT_EQ(read_whole("/dev/zero", 1 << 20).error().code, EFBIG);
  EXPECT_EQ(read_whole(dir_ / "none").error().code, ENOENT);
}

TEST_F(DurableFileTest, APrivateDirIsMadeForItsOwnerAlone) {
  ::umask(0);
  EXPECT_FALSE(open_private_dir(dir_ / "a/b", false));
  ASSERT_TRUE(open_private_dir(dir_ / "a/b", true));
  EXPECT_EQ(mode(dir_ / "a/b"), 0700u);
  EXPECT_TRUE(open_private_dir(dir_ / "a/b", false));
  ASSERT_TRUE(open_private_dir(dir_ / "c/", true));
  EXPECT_EQ(mode(dir_ / "c"), 0700u) << "with a slash behind it too";
  ::umask(022);
}

TEST_F(DurableFileTest, APlaceThatOthersCanWriteToIsNoPrivateDir) {
  unit::make_dirs(dir_ / "group");
  unit::make_dirs(dir_ / "real");
  ::chmod((dir_ / "group").c_str(), 0770);
  unit::make_symlink("real", dir_ / "link");
  unit::write_file(dir_ / "file", "x");
  for (const bool create : {false, true})
    for (const char* name : {"group", "link", "file"})
      EXPECT_FALSE(open_private_dir(dir_ / name, create)) << name;
  if (!unit::is_root()) VS_SKIP(kRoot) << "another owner: needs root";
  unit::make_dirs(dir_ / "other");
  ASSERT_EQ(::chown((dir_ / "other").c_str(), 65534, 65534), 0);
  EXPECT_EQ(open_private_dir(dir_ / "other", true).error().code, EPERM);
}

TEST_F(DurableFileTest, WriteAllTellsOfADiskThatIsFull) {
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  const auto written = write_all(full.get(), "x", "/dev/full");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, ENOSPC);
}

}  // namespace
}  // namespace vs
