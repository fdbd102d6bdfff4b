#include "core/descriptors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "core/unique_fd.h"

namespace vs {
namespace {

class DescriptorsTest : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    here_.reset(ends[0]);
    there_.reset(ends[1]);
    null_.reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(null_);
  }
  static int lowest_free() {
    const UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    return fd.get();
  }
  UniqueFd here_, there_, null_;
};

TEST_F(DescriptorsTest, ArriveAsTheSameOpenFileAndDoNotOutliveExec) {
  const int sent[] = {null_.get(), null_.get()};
  ASSERT_TRUE(send_descriptors(here_.get(), 'x', sent, "the test"));
  int fds[4];
  const auto received = receive_descriptors(there_.get(), fds);
  EXPECT_EQ(received.got, 1);
  EXPECT_EQ(received.byte, 'x');
  EXPECT_TRUE(received.all);
  ASSERT_EQ(received.count, 2u);
  struct stat a {
  }, b{};
  ASSERT_EQ(::fstat(null_.get(), &a), 0);
  for (size_t i = 0; i < 2; ++i) {
    const UniqueFd fd(fds[i]);
    ASSERT_EQ(::fstat(fd.get(), &b), 0);
    EXPECT_EQ(a.st_rdev, b.st_rdev);
    EXPECT_NE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
  }
}

TEST_F(DescriptorsTest, WhatHasNoRoomIsClosedAndSaid) {
  const std::vector<int> sent(10, null_.get());
  ASSERT_TRUE(send_descriptors(here_.get(), 'x', sent, "the test"));
  const int before = lowest_free();
  int fds[1];
  const auto received = receive_descriptors(there_.get(), fds);
  EXPECT_EQ(received.count, 1u);
  EXPECT_FALSE(received.all);
  ::close(fds[0]);
  EXPECT_EQ(lowest_free(), before) << "a descriptor is left open";
}

TEST_F(DescriptorsTest, AByteMayComeAloneAndTheEndIsSeen) {
  ASSERT_TRUE(send_descriptors(here_.get(), 'F', {}, "the test"));
  int fds[1];
  auto received = receive_descriptors(there_.get(), fds);
  EXPECT_EQ(received.byte, 'F');
  EXPECT_EQ(received.count, 0u);
  here_.reset();
  received = receive_descriptors(there_.get(), fds);
  EXPECT_EQ(received.got, 0);
}

TEST_F(DescriptorsTest, TooManyAreRefusedAndAClosedPeerIsAProblem) {
  const std::vector<int> many(kDescriptorsAtOnce + 1, null_.get());
  EXPECT_EQ(send_descriptors(here_.get(), 'x', many, "the test").error().code, EINVAL);
  there_.reset();
  EXPECT_EQ(send_descriptors(here_.get(), 'x', {}, "the test").error().code, EPIPE);
}

}  // namespace
}  // namespace vs
