#include "unify/change/directory_times.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>

#include "tests/core/scratch.h"

namespace vs::unify {
namespace {

constexpr int64_t kOld = 1'600'000'000'123'456'789;

class DirectoryTimesTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* dir : {"guest", "staging"}) {
      std::filesystem::create_directory(dir_ / dir);
      unit::write_file(dir_ / (std::string(dir) + "/f"), dir);
    }
    fd_.reset(::open((dir_ / "guest").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    unit::set_mtime(dir_ / "guest", kOld);
    watched_ = times_.before(fd_.get());
  }
  void rename(unsigned flags) {
    ASSERT_EQ(::syscall(SYS_renameat2, AT_FDCWD, (dir_ / "staging/f").c_str(), fd_.get(), "f", flags), 0);
    DirectoryTimes::changed(watched_, flags == RENAME_EXCHANGE ? 2 : 1);
  }
  int64_t mtime() const {
    const auto time = unit::lstat_of(dir_ / "guest").st_mtim;
    return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
  }
  const unit::ScratchDir dir_;
  UniqueFd fd_;
  DirectoryTimes times_;
  DirectoryTimes::Directory* watched_ = nullptr;
};

TEST_F(DirectoryTimesTest, AreAsBeforeAnExchangeAndARename) {
  rename(RENAME_EXCHANGE);
  ASSERT_NE(mtime(), kOld);
  times_.put_back();
  EXPECT_EQ(mtime(), kOld);
  watched_ = times_.before(fd_.get());
  rename(RENAME_EXCHANGE);
  EXPECT_EQ(times_.before(fd_.get()), watched_);
  rename(0);
  times_.put_back();
  EXPECT_EQ(mtime(), kOld);
}

TEST_F(DirectoryTimesTest, StayNewWhereSomebodyElseChangedTheDirectory) {
  const std::function<void()> changes[] = {
      [&] { unit::write_file(dir_ / "guest/new", ""); },
      [&] { std::filesystem::remove(dir_ / "guest/old"); },
      [&] { std::filesystem::create_directory(dir_ / "guest/new"); },
      [&] { std::filesystem::rename(dir_ / "guest/old", dir_ / "guest/new"); },
      [&] { std::filesystem::rename(dir_ / "guest/old", dir_ / "guest/f"); },
      [&] { std::filesystem::create_symlink("x", dir_ / "guest/new"); },
      [&] { unit::set_mtime(dir_ / "guest", kOld + 1); },
  };
  for (const auto& change : changes)
    for (const bool first : {false, true}) {
      std::filesystem::remove_all(dir_ / "guest/new");
      for (const char* file : {"guest/old", "guest/f", "staging/f"}) unit::write_file(dir_ / file, "");
      unit::set_mtime(dir_ / "guest", kOld);
      times_.put_back();  // of the last round, and of SetUp()
      watched_ = times_.before(fd_.get());
      if (first) change();
      rename(RENAME_EXCHANGE);
      if (!first) change();
      const int64_t before = mtime();
      times_.put_back();
      EXPECT_EQ(mtime(), before);
      EXPECT_NE(mtime(), kOld);
    }
}

TEST_F(DirectoryTimesTest, StayAsTheyAreWhereNothingWasDoneOrItIsNotCounted) {
  times_.put_back();
  EXPECT_EQ(mtime(), kOld);
  watched_ = times_.before(fd_.get());
  rename(RENAME_EXCHANGE);
  times_.give_up(fd_.get());
  times_.put_back();
  EXPECT_NE(mtime(), kOld);
}

// Who reads or writes the files of a directory does not change it.
TEST_F(DirectoryTimesTest, WhatHappensToTheFilesIsNoChange) {
  rename(RENAME_EXCHANGE);
  unit::write_file(dir_ / "guest/f", "written");
  ASSERT_EQ(::chmod((dir_ / "guest/f").c_str(), 0600), 0);
  times_.put_back();
  EXPECT_EQ(mtime(), kOld);
}

}  // namespace
}  // namespace vs::unify
