#include "unify/change/master_window.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/xattr.h>

#include <cerrno>
#include <thread>

#include "tests/unify/fixture.h"

namespace vs::unify {
namespace {

using Verdict = MasterWindow::Verdict;

// One master with a name in a guest.
class MasterWindowTest : public unit::HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().everywhere("usr/x", "content");
    host().unify();
    ASSERT_EQ(host().masters.size(), 1u);
    master_ = value_or_throw(open_master(*host().store, *host().guard, host().masters[0]));
    name_ = host().path("a", "usr/x");
  }
  std::unique_ptr<MasterWindow> window() {
    return std::make_unique<MasterWindow>(*host().guard, master_, counts_, host().context.log);
  }
  bool class_is_right() const {
    return class_of(*stat_fd(master_.fd.get(), ""), *xattr_hash_of(master_.fd.get(), "")) ==
           master_.record.file_class;
  }

  OpenMaster master_;
  WindowCounts counts_;
  std::string name_;
};

TEST_F(MasterWindowTest, IsUnsealedBetweenOpenAndCloseOnly) {
  const auto one = window();
  EXPECT_TRUE(unit::is_sealed(name_));
  ASSERT_TRUE(one->open());
  EXPECT_FALSE(unit::is_sealed(name_));
  EXPECT_EQ(one->close(), Verdict::intact);
  EXPECT_TRUE(unit::is_sealed(name_));
  EXPECT_EQ(counts_.classes_restored + counts_.leases_broken, 0u);
}

TEST_F(MasterWindowTest, SealsWhenItIsLeftOpen) {
  {
    const auto one = window();
    ASSERT_TRUE(one->open());
  }
  EXPECT_TRUE(unit::is_sealed(name_));
}

TEST_F(MasterWindowTest, StaysSealedWhileSomebodyHasItOpenForWriting) {
  unit::unseal(name_);
  const UniqueFd writer(::open(name_.c_str(), O_WRONLY | O_CLOEXEC));
  unit::seal(name_);
  const auto one = window();
  const auto opened = one->open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, EAGAIN);
  EXPECT_TRUE(unit::is_sealed(name_));
}

TEST_F(MasterWindowTest, PutsBackAModeThatAGuestChangedInTheWindow) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  ASSERT_EQ(::chmod(name_.c_str(), 06777), 0);
  EXPECT_EQ(one->close(), Verdict::intact);
  EXPECT_TRUE(class_is_right());
  EXPECT_TRUE(unit::is_sealed(name_));
  EXPECT_EQ(counts_.classes_restored, 1u);
}

TEST_F(MasterWindowTest, PutsBackOwnerTimesAndAttributesToo) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  ASSERT_EQ(::chown(name_.c_str(), 1000, 1000), 0);
  unit::set_mtime(name_, 1);
  ASSERT_EQ(::setxattr(name_.c_str(), "user.planted", "x", 1, 0), 0);
  EXPECT_EQ(one->close(), Verdict::intact);
  EXPECT_TRUE(class_is_right());
  EXPECT_LT(::getxattr(name_.c_str(), "user.planted", nullptr, 0), 0);
  EXPECT_TRUE(unit::is_sealed(name_));
}

TEST_F(MasterWindowTest, PutsBackAnAttributeThatWasTakenAway) {
  unit::unseal(name_);
  ASSERT_EQ(::setxattr(name_.c_str(), "user.note", "mine", 4, 0), 0);
  master_.record.xattrs = *read_xattrs(master_.fd.get(), "");
  master_.record.file_class.xattrs = xattr_hash(master_.record.xattrs);
  const auto one = window();
  ASSERT_TRUE(one->open());
  ASSERT_EQ(::removexattr(name_.c_str(), "user.note"), 0);
  one->close();
  EXPECT_TRUE(class_is_right());
}

// It changes it once more just as it is put back.
TEST_F(MasterWindowTest, AGuestThatKeepsChangingItLoses) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  int changes = 0;
  host().guard->before_seal = [&](int) {
    if (++changes > 4) return;
    ASSERT_EQ(::chmod(name_.c_str(), changes % 2 ? 0777 : 0700), 0);
  };
  one->close();
  EXPECT_TRUE(class_is_right());
  EXPECT_TRUE(unit::is_sealed(name_));
}

TEST_F(MasterWindowTest, IsSealedAlsoWhenTheGuestWinsEveryRound) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  int changes = 0;
  host().guard->before_seal = [&](int) { ASSERT_EQ(::chmod(name_.c_str(), ++changes % 2 ? 0777 : 0700), 0); };
  EXPECT_EQ(one->close(), Verdict::tainted) << "so that every name of it gets a private copy";
  EXPECT_TRUE(unit::is_sealed(name_));
  EXPECT_GT(host().context.log.failed_objects(), 0u) << "and it is told";
}

// The filesystem fails: it is told, and the batch is left to recovery.
TEST_F(MasterWindowTest, ToldApartWhenItCannotBeSealed) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  host().guard->fail_seal = true;
  EXPECT_EQ(one->close(), Verdict::unsealed);
  EXPECT_GT(host().context.log.failed_objects(), 0u);
  host().guard->fail_seal = false;
  unit::seal(name_);
}

// A guest's open for writing waits while the lease is held, and then meets the seal.
TEST_F(MasterWindowTest, AWriterThatCameInTheWindowCannotWrite) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  ssize_t wrote = -2;
  std::thread guest([&] {
    const UniqueFd fd(::open(name_.c_str(), O_WRONLY | O_CLOEXEC));
    wrote = ::pwrite(fd.get(), "EVIL", 4, 0);
  });
  // Its open has broken the lease when F_GETLEASE tells so; whether it has, only the window knows: an
  // impatient one asks too.
  while (::open(name_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC) >= 0 || errno != EWOULDBLOCK) {
  }
  EXPECT_EQ(one->close(), Verdict::retire);
  guest.join();
  EXPECT_NE(wrote, 4);
  EXPECT_EQ(unit::read_file(name_), "content");
  EXPECT_EQ(counts_.leases_broken, 1u);
}

// The lease outlives the seal: names can be taken back also while somebody waits with an open for writing.
TEST_F(MasterWindowTest, IsUnsealedAgainUnderTheSameLease) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  EXPECT_LT(::open(name_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC), 0);
  EXPECT_EQ(one->seal(), Verdict::retire);
  EXPECT_TRUE(unit::is_sealed(name_));
  ASSERT_TRUE(one->unseal_again());
  EXPECT_FALSE(unit::is_sealed(name_));
  EXPECT_LT(::open(name_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC), 0) << "still not";
  EXPECT_EQ(errno, EWOULDBLOCK);
  EXPECT_EQ(one->close(), Verdict::retire);
  EXPECT_TRUE(unit::is_sealed(name_));
  EXPECT_EQ(counts_.leases_broken, 1u) << "one time, told once";
}

// Where the lease was broken the content is read again: a writer may have come before the seal.
TEST_F(MasterWindowTest, ContentThatChangedIsTainted) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  EXPECT_LT(::open(name_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC), 0);  // breaks the lease
  master_.record.sha256[0] = static_cast<char>(master_.record.sha256[0] ^ 1);
  EXPECT_EQ(one->close(), Verdict::tainted);
}

}  // namespace
}  // namespace vs::unify
