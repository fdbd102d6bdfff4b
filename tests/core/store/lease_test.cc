#include "core/store/lease.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "tests/core/scratch.h"

namespace vs {
namespace {

// A lease only knows of opens by other open file descriptions, so the guest is in this process too.
class LeaseTest : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGIO, SIG_IGN);
    unit::write_file(path_, "content");
    reader_ = open(O_RDONLY);
  }
  UniqueFd open(int flags) const { return UniqueFd(::open(path_.c_str(), flags | O_CLOEXEC)); }
  Expected<Lease> take() const { return Lease::take(reader_.get(), "the file"); }

  const unit::ScratchDir dir_;
  const std::string path_ = dir_ / "file";
  UniqueFd reader_;
};

TEST_F(LeaseTest, IsRefusedWhileSomebodyCanWrite) {
  UniqueFd writer = open(O_RDWR);
  const auto refused = take();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, EAGAIN);
  writer.reset();
  EXPECT_TRUE(take());
}

// The descriptor is closed, the mapping lives on.
TEST_F(LeaseTest, IsRefusedWhileAWritableMappingLives) {
  UniqueFd writer = open(O_RDWR);
  void* mapping = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer.get(), 0);
  ASSERT_NE(mapping, MAP_FAILED);
  writer.reset();
  EXPECT_FALSE(take());
  ::munmap(mapping, 4096);
  EXPECT_TRUE(take());
}

TEST_F(LeaseTest, ReadersDoNotMatter) {
  const UniqueFd other = open(O_RDONLY);
  const auto lease = take();
  ASSERT_TRUE(lease);
  const UniqueFd later = open(O_RDONLY);
  EXPECT_TRUE(later);
  EXPECT_TRUE(lease->unbroken());
}

// Open, mapped or run by somebody else; not by who asks. It is a read lease before and after.
TEST_F(LeaseTest, KnowsWhetherSomebodyElseHasItOpen) {
  auto lease = take();
  ASSERT_TRUE(lease);
  EXPECT_TRUE(value_or_throw(lease->nobody_else("f")));
  UniqueFd other = open(O_RDONLY);
  EXPECT_FALSE(value_or_throw(lease->nobody_else("f")));
  void* mapping = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, other.get(), 0);
  ASSERT_NE(mapping, MAP_FAILED);
  other.reset();
  EXPECT_FALSE(value_or_throw(lease->nobody_else("f"))) << "mapped, and closed";
  ::munmap(mapping, 4096);
  EXPECT_TRUE(value_or_throw(lease->nobody_else("f")));
  EXPECT_TRUE(lease->unbroken());
  EXPECT_TRUE(open(O_RDONLY)) << "readers do not wait";
  EXPECT_FALSE(open(O_RDWR | O_NONBLOCK));
  EXPECT_FALSE(value_or_throw(lease->nobody_else("f")));
  EXPECT_FALSE(lease->unbroken());
}

TEST_F(LeaseTest, AnOpenForWritingBreaksItAndGetsNothing) {
  const auto lease = take();
  ASSERT_TRUE(lease);
  EXPECT_TRUE(lease->unbroken());
  errno = 0;
  EXPECT_FALSE(open(O_WRONLY | O_NONBLOCK));
  EXPECT_EQ(errno, EWOULDBLOCK);
  EXPECT_FALSE(lease->unbroken());
}

TEST_F(LeaseTest, TruncatingByNameBreaksItToo) {
  auto lease = take();
  ASSERT_TRUE(lease);
  std::thread guest([&] { EXPECT_EQ(::truncate(path_.c_str(), 0), 0); });
  while (lease->unbroken()) std::this_thread::yield();
  EXPECT_EQ(unit::read_file(path_), "content") << "not before the lease is gone";
  lease->release();
  guest.join();
  EXPECT_EQ(unit::read_file(path_), "");
}

TEST_F(LeaseTest, AWaitingWriterGoesOnWhenItIsReleased) {
  auto lease = take();
  ASSERT_TRUE(lease);
  std::thread guest([&] { EXPECT_TRUE(open(O_WRONLY)); });
  while (lease->unbroken()) std::this_thread::yield();
  lease->release();
  guest.join();
}

TEST_F(LeaseTest, GoesWithItsOwner) {
  { const auto lease = take(); }
  EXPECT_TRUE(open(O_WRONLY | O_NONBLOCK));
}

TEST_F(LeaseTest, CanBeMoved) {
  auto taken = take();
  ASSERT_TRUE(taken);
  Lease lease;
  EXPECT_FALSE(lease.unbroken()) << "no lease protects nothing";
  lease = std::move(*taken);
  EXPECT_TRUE(lease.unbroken());
}

// What the linker therefore compares itself.
TEST_F(LeaseTest, DoesNotStopChangesOfTheClass) {
  const auto lease = take();
  ASSERT_TRUE(lease);
  EXPECT_EQ(::chmod(path_.c_str(), 0600), 0);
  unit::set_mtime(path_, 1'000'000'000);
  EXPECT_EQ(::link(path_.c_str(), (dir_ / "other").c_str()), 0);
  EXPECT_TRUE(lease->unbroken());
}

}  // namespace
}  // namespace vs
