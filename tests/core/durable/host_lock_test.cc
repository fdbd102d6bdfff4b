#include "core/durable/host_lock.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <thread>

#include "core/error.h"
#include "tests/core/scratch.h"

namespace vs {
namespace {

class HostLockTest : public testing::Test {
 protected:
  HostLock lock() const { return HostLock(fd_.get(), "lock", "the/lock"); }
  const unit::ScratchDir dir_;
  const UniqueFd fd_{::open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
};

TEST_F(HostLockTest, ASecondRunIsRefusedAndToldWhoHoldsIt) {
  const HostLock held = lock();
  try {
    lock();
    FAIL() << "two writers";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::locked);
    EXPECT_THAT(error.what(), testing::HasSubstr("the/lock"));
    EXPECT_THAT(error.what(), testing::HasSubstr(std::to_string(::getpid())));
  }
}

TEST_F(HostLockTest, IsFreeWhenItsHolderGoes) {
  { const HostLock held = lock(); }
  EXPECT_NO_THROW(lock());
}

// kill -9 leaves the file behind, and nothing else.
TEST_F(HostLockTest, IsFreeWhenItsHolderIsKilled) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const HostLock held = lock();
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_TRUE(HostLock::is_held(fd_.get(), "lock"));
  EXPECT_THROW(lock(), Error);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_FALSE(HostLock::is_held(fd_.get(), "lock"));
  EXPECT_NO_THROW(lock());
  ::close(ready[0]);
  ::close(ready[1]);
}

// The seal keeper of a killed run shares its descriptors, and so its lock, until the masters are sealed.
TEST_F(HostLockTest, WaitsForWhatAKilledRunLeftBehind) {
  auto held = std::make_unique<HostLock>(lock());
  std::thread keeper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    held.reset();
  });
  EXPECT_NO_THROW(lock());
  keeper.join();
}

TEST_F(HostLockTest, AskingDoesNotTakeOrMakeIt) {
  EXPECT_FALSE(HostLock::is_held(fd_.get(), "lock"));
  EXPECT_FALSE(unit::exists(dir_ / "lock"));
  const HostLock held = lock();
  EXPECT_TRUE(HostLock::is_held(fd_.get(), "lock"));
}

TEST_F(HostLockTest, FollowsNoSymlink) {
  unit::make_symlink(dir_ / "elsewhere", dir_ / "lock");
  EXPECT_THROW(lock(), Error);
  EXPECT_FALSE(unit::exists(dir_ / "elsewhere"));
}

}  // namespace
}  // namespace vs
