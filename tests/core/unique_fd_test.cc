#include "core/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace vs {
namespace {

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}
int some_fd() {
  return ::open("/", O_PATH | O_CLOEXEC);
}

TEST(UniqueFdTest, ClosesWhenItsOwnerGoes) {
  int raw = -1;
  {
    const UniqueFd fd(some_fd());
    raw = fd.get();
    EXPECT_TRUE(is_open(raw));
  }
  EXPECT_FALSE(is_open(raw));
}

TEST(UniqueFdTest, MovingLeavesOneOwner) {
  UniqueFd first(some_fd());
  const int raw = first.get();
  UniqueFd second(std::move(first));
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): what a moved-from one is, is the promise
  EXPECT_EQ(second.get(), raw);
  EXPECT_TRUE(is_open(raw));
}

TEST(UniqueFdTest, AssigningClosesWhatItHadBefore) {
  UniqueFd fd(some_fd());
  const int old = fd.get();
  UniqueFd other(some_fd());
  const int raw = other.get();
  fd = std::move(other);
  EXPECT_FALSE(is_open(old));
  EXPECT_EQ(fd.get(), raw);
}

TEST(UniqueFdTest, ReleaseGivesTheOwnershipAway) {
  UniqueFd fd(some_fd());
  const int raw = fd.release();
  fd.reset();
  EXPECT_TRUE(is_open(raw));
  ::close(raw);
}

}  // namespace
}  // namespace vs
