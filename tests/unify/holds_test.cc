#include "unify/holds.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "tests/core/scratch.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class HoldsTest : public testing::Test {
 protected:
  const unit::ScratchDir dir_;
};

TEST_F(HoldsTest, LastUntilTheyAreEnded) {
  EXPECT_FALSE(is_held(dir_.path(), "web1"));
  hold_guest(dir_.path(), "web1", std::nullopt);
  hold_guest(dir_.path(), "db1", std::nullopt);
  EXPECT_TRUE(is_held(dir_.path(), "web1"));
  EXPECT_THAT(held_guests(dir_.path()), ElementsAre("db1", "web1"));
  end_hold(dir_.path(), "web1");
  end_hold(dir_.path(), "web1");
  EXPECT_FALSE(is_held(dir_.path(), "web1"));
}

TEST_F(HoldsTest, LastNoLongerThanTheirProcess) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    char byte;
    ::close(ends[1]);
    ::_exit(::read(ends[0], &byte, 1) == 0 ? 0 : 1);
  }
  hold_guest(dir_.path(), "web1", pid);
  EXPECT_TRUE(is_held(dir_.path(), "web1"));
  ::close(ends[1]);
  ::waitpid(pid, nullptr, 0);
  ::close(ends[0]);
  EXPECT_FALSE(is_held(dir_.path(), "web1"));
  EXPECT_THAT(held_guests(dir_.path()), IsEmpty());
  EXPECT_THROW(hold_guest(dir_.path(), "web1", pid), Error) << "there is no such process";
}

// A later process of the same number is another one.
TEST_F(HoldsTest, AnotherProcessOfThatNumberHoldsNothing) {
  hold_guest(dir_.path(), "web1", ::getpid());
  EXPECT_TRUE(is_held(dir_.path(), "web1"));
  unit::write_file(dir_ / "holds/web1", std::to_string(::getpid()) + " 1");
  EXPECT_FALSE(is_held(dir_.path(), "web1"));
}

}  // namespace
}  // namespace vs::unify
