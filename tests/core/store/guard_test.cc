#include "core/store/guard.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "tests/core/sealing.h"
#include "tests/support/skip.h"

namespace vs {
namespace {

using testing::HasSubstr;

// What the promise of every guard that shares inodes is: the denials.
class GuardTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_STOP_IF(unit::cannot_seal());
    unit::write_file(path_, "content");
    fd_.reset(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  }
  const unit::ScratchDir dir_;
  const std::string path_ = dir_ / "master", name_ = dir_ / "name";
  UniqueFd fd_;
  const std::unique_ptr<Guard> guard_ = make_immutable_guard();
};

int error_of(int result) {
  return result == 0 ? 0 : errno;
}

TEST_F(GuardTest, ASealedFileRefusesEveryChange) {
  ASSERT_EQ(::link(path_.c_str(), name_.c_str()), 0);
  ASSERT_TRUE(guard_->seal(fd_.get(), "m"));
  errno = 0;
  EXPECT_FALSE(UniqueFd(::open(name_.c_str(), O_WRONLY | O_CLOEXEC)));
  EXPECT_EQ(errno, EPERM);
  const timespec times[2] = {{1, 0}, {1, 0}};
  EXPECT_EQ(error_of(::truncate(name_.c_str(), 0)), EPERM);
  EXPECT_EQ(error_of(::chmod(name_.c_str(), 0777)), EPERM);
  EXPECT_EQ(error_of(::chown(name_.c_str(), 1, 1)), EPERM);
  EXPECT_EQ(error_of(::utimensat(AT_FDCWD, name_.c_str(), times, 0)), EPERM);
  EXPECT_EQ(error_of(::unlink(name_.c_str())), EPERM);
  EXPECT_EQ(error_of(::rename(name_.c_str(), (dir_ / "moved").c_str())), EPERM);
  EXPECT_EQ(error_of(::link(name_.c_str(), (dir_ / "more").c_str())), EPERM);
  unit::write_file(dir_ / "mine", "mine");
  EXPECT_EQ(error_of(::rename((dir_ / "mine").c_str(), name_.c_str())), EPERM);
  EXPECT_EQ(unit::read_file(name_), "content");
}

// The second lock: a descriptor for writing that slipped in before the seal.
TEST_F(GuardTest, ASealedFileRefusesWritesThroughDescriptorsOpenedBefore) {
  const UniqueFd before(::open(path_.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(guard_->seal(fd_.get(), "m"));
  EXPECT_EQ(error_of(static_cast<int>(::pwrite(before.get(), "X", 1, 0))), EPERM);
  EXPECT_EQ(error_of(::ftruncate(before.get(), 0)), EPERM);
  EXPECT_EQ(unit::read_file(path_), "content");
}

TEST_F(GuardTest, SealingTwiceIsSealing) {
  EXPECT_FALSE(*guard_->is_sealed(fd_.get(), "m"));
  ASSERT_TRUE(guard_->seal(fd_.get(), "m"));
  ASSERT_TRUE(guard_->seal(fd_.get(), "m"));
  EXPECT_TRUE(*guard_->is_sealed(fd_.get(), "m"));
  ASSERT_TRUE(guard_->unseal(fd_.get(), "m"));
  EXPECT_FALSE(*guard_->is_sealed(fd_.get(), "m"));
  EXPECT_EQ(::truncate(path_.c_str(), 0), 0);
}

TEST_F(GuardTest, TheProbeLeavesNothing) {
  const UniqueFd dir(::open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_TRUE(guard_->probe(dir.get()));
  EXPECT_FALSE(make_reflink_guard()->probe(dir.get())) << "ext4 shares no extents";
  const auto left = std::distance(std::filesystem::directory_iterator(dir_.path()), {});
  EXPECT_EQ(left, 1);
}

TEST_F(GuardTest, AutoTakesTheStrongestThatWorksAndSaysWhyNotTheOthers) {
  const UniqueFd dir(::open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const GuardChoice choice = choose_guard("auto", dir.get(), true, false, "the pool");
  ASSERT_NE(choice.guard, nullptr);
  EXPECT_EQ(choice.guard->name(), "immutable");
  ASSERT_EQ(choice.considered.size(), 2u);
  EXPECT_TRUE(choice.considered[0].usable);
  EXPECT_THAT(choice.considered[1].why, HasSubstr("cannot share extents"));
}

std::string refusal(std::string_view requested, int dir, bool possible, Exit expected) {
  try {
    choose_guard(requested, dir, possible, false, "the pool");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), expected) << error.what();
    return error.what();
  }
  ADD_FAILURE() << requested << " was taken";
  return "";
}

TEST_F(GuardTest, AGuardThatDoesNotWorkIsRefusedAndAnotherOffered) {
  const UniqueFd dir(::open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_THAT(refusal("reflink", dir.get(), true, Exit::failed), HasSubstr("--guard=immutable"));
  EXPECT_THAT(refusal("auto", dir.get(), false, Exit::failed), HasSubstr("subvolumes"));
}

// tmpfs takes the flag and lets a file that was open before be written all the same.
TEST(GuardChoiceTest, AFilesystemThatWritesThroughTheSealIsRefused) {
  const UniqueFd dir(::open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir || !unit::is_root()) VS_SKIP(kRoot) << "needs root and a tmpfs at /dev/shm";
  struct ::statfs info;
  ASSERT_EQ(::fstatfs(dir.get(), &info), 0);
  if (info.f_type != 0x01021994) VS_SKIP(kFilesystem) << "/dev/shm is no tmpfs";
  EXPECT_FALSE(make_immutable_guard()->probe(dir.get()));
  refusal("immutable", dir.get(), true, Exit::failed);
  refusal("auto", dir.get(), true, Exit::failed);
}

TEST(GuardChoiceTest, NamesThatAreNoGuardOrNotInThisBuildAreUsageErrors) {
  for (const char* name : {"iunlink", "bpf", "", "IMMUTABLE", "none"})
    EXPECT_THAT(refusal(name, -1, true, Exit::usage), HasSubstr("immutable or reflink")) << name;
}

}  // namespace
}  // namespace vs
