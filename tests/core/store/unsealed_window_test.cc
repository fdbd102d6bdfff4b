#include "core/store/unsealed_window.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <thread>

#include "core/store/inode_flags.h"
#include "core/store/project.h"
#include "core/store/reseal.h"
#include "tests/core/sealing.h"

namespace vs {
namespace {

using Verdict = UnsealedWindow::Verdict;

// One master, of which a guest has a name.
class UnsealedWindowTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_STOP_IF(unit::cannot_seal());
    expect_lease_signals();
    unit::write_file(dir_ / "master", "content");
    unit::make_dirs(dir_ / "guest");
    std::filesystem::create_hard_link(dir_ / "master", name_);
    unit::seal(name_);
    fd_.reset(::open((dir_ / "master").c_str(), O_RDONLY | O_CLOEXEC));
    file_ = value_or_throw(shared_as_it_is(fd_.get(), dir_ / "master"));
    file_.same_content = [this] { return content_is_right_; };
  }
  std::unique_ptr<UnsealedWindow> window() {
    return std::make_unique<UnsealedWindow>(guard_, file_, nullptr, counts_, &log_);
  }
  bool class_is_right() const {
    return class_of(*stat_fd(fd_.get(), ""), *xattr_hash_of(fd_.get(), "")) == file_.file_class;
  }

  const unit::ScratchDir dir_;
  const std::string name_ = dir_ / "guest/name";
  UniqueFd fd_;
  SharedFile file_;
  bool content_is_right_ = true;
  unit::HookedGuard guard_;
  WindowCounts counts_;
  Log log_{Verbosity::quiet, "test"};
};

TEST_F(UnsealedWindowTest, IsUnsealedBetweenOpenAndCloseOnly) {
  const auto one = window();
  EXPECT_TRUE(unit::is_sealed(name_));
  ASSERT_TRUE(one->open());
  EXPECT_FALSE(unit::is_sealed(name_));
  EXPECT_EQ(one->close(), Verdict::intact);
  EXPECT_TRUE(unit::is_sealed(name_));
  EXPECT_EQ(counts_.classes_restored + counts_.leases_broken, 0u);
}

TEST_F(UnsealedWindowTest, SealsWhenItIsLeftOpen) {
  {
    const auto one = window();
    ASSERT_TRUE(one->open());
  }
  EXPECT_TRUE(unit::is_sealed(name_));
}

TEST_F(UnsealedWindowTest, StaysSealedWhileSomebodyHasItOpenForWriting) {
  unit::unseal(name_);
  const UniqueFd writer(::open(name_.c_str(), O_WRONLY | O_CLOEXEC));
  unit::seal(name_);
  const auto one = window();
  const auto opened = one->open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, EAGAIN);
  EXPECT_TRUE(unit::is_sealed(name_));
}

TEST_F(UnsealedWindowTest, PutsBackAModeThatAGuestChangedInTheWindow) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  ASSERT_EQ(::chmod(name_.c_str(), 06777), 0);
  EXPECT_EQ(one->close(), Verdict::intact);
  EXPECT_TRUE(class_is_right());
  EXPECT_TRUE(unit::is_sealed(name_));
  EXPECT_EQ(counts_.classes_restored, 1u);
}

TEST_F(UnsealedWindowTest, PutsBackOwnerTimesAndAttributesToo) {
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

TEST_F(UnsealedWindowTest, PutsBackAnAttributeThatWasTakenAway) {
  unit::unseal(name_);
  ASSERT_EQ(::setxattr(name_.c_str(), "user.note", "mine", 4, 0), 0);
  file_.xattrs = *read_xattrs(fd_.get(), "");
  file_.file_class.xattrs = xattr_hash(file_.xattrs);
  const auto one = window();
  ASSERT_TRUE(one->open());
  ASSERT_EQ(::removexattr(name_.c_str(), "user.note"), 0);
  one->close();
  EXPECT_TRUE(class_is_right());
}

// Anybody can make attributes that have the hash of others: what the file has is compared, not that.
TEST_F(UnsealedWindowTest, PutsBackAttributesThatHaveTheHashOfTheRightOnes) {
  unit::unseal(name_);
  ASSERT_EQ(::setxattr(name_.c_str(), "user.note", "mine", 4, 0), 0);
  file_.xattrs = *read_xattrs(fd_.get(), "");
  file_.file_class.xattrs = xattr_hash({{"user.note", "evil"}});  // as if these two had the same
  const auto one = window();
  ASSERT_TRUE(one->open());
  ASSERT_EQ(::setxattr(name_.c_str(), "user.note", "evil", 4, 0), 0);
  EXPECT_EQ(one->close(), Verdict::intact);
  EXPECT_EQ(*read_xattrs(fd_.get(), ""), file_.xattrs);
  EXPECT_EQ(counts_.classes_restored, 1u);
}

TEST_F(UnsealedWindowTest, PutsBackFlagsAndProject) {
  const InodeMarks before = marks_of(fd_.get());
  const auto one = window();
  ASSERT_TRUE(one->open());
  ASSERT_TRUE(change_inode_flags(fd_.get(), FS_NODUMP_FL | FS_NOATIME_FL, true, name_));
  const bool projects = set_project(fd_.get(), 4711, name_).has_value();
  ASSERT_FALSE(marks_of(fd_.get()) == before);
  EXPECT_EQ(one->close(), Verdict::intact);
  EXPECT_EQ(marks_of(fd_.get()).flags, before.flags);
  if (projects) {
    EXPECT_EQ(marks_of(fd_.get()).project, before.project);
  }
  EXPECT_TRUE(unit::is_sealed(name_));
  EXPECT_EQ(counts_.classes_restored, 1u);
}

TEST_F(UnsealedWindowTest, AFlagThatItHadBeforeStays) {
  unit::unseal(name_);
  ASSERT_TRUE(change_inode_flags(fd_.get(), FS_NODUMP_FL, true, name_));
  unit::seal(name_);
  const auto one = window();
  ASSERT_TRUE(one->open());
  EXPECT_EQ(one->close(), Verdict::intact);
  EXPECT_EQ(marks_of(fd_.get()).flags & FS_NODUMP_FL, static_cast<uint32_t>(FS_NODUMP_FL));
  EXPECT_EQ(counts_.classes_restored, 0u);
}

// It changes it once more just as it is put back.
TEST_F(UnsealedWindowTest, AGuestThatKeepsChangingItLoses) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  int changes = 0;
  guard_.before_seal = [&](int) {
    if (++changes > 4) return;
    ASSERT_EQ(::chmod(name_.c_str(), changes % 2 ? 0777 : 0700), 0);
  };
  one->close();
  EXPECT_TRUE(class_is_right());
  EXPECT_TRUE(unit::is_sealed(name_));
}

TEST_F(UnsealedWindowTest, IsSealedAlsoWhenTheGuestWinsEveryRound) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  int changes = 0;
  guard_.before_seal = [&](int) { ASSERT_EQ(::chmod(name_.c_str(), ++changes % 2 ? 0777 : 0700), 0); };
  EXPECT_EQ(one->close(), Verdict::tainted) << "so that every name of it gets a private copy";
  EXPECT_TRUE(unit::is_sealed(name_));
  EXPECT_GT(log_.failed_objects(), 0u) << "and it is told";
}

// The filesystem fails: it is told, and the batch is left to recovery.
TEST_F(UnsealedWindowTest, ToldApartWhenItCannotBeSealed) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  guard_.fail_seal = true;
  EXPECT_EQ(one->close(), Verdict::unsealed);
  EXPECT_GT(log_.failed_objects(), 0u);
  guard_.fail_seal = false;
  unit::seal(name_);
}

// A guest's open for writing waits while the lease is held, and then meets the seal.
TEST_F(UnsealedWindowTest, AWriterThatCameInTheWindowCannotWrite) {
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
TEST_F(UnsealedWindowTest, IsUnsealedAgainUnderTheSameLease) {
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
TEST_F(UnsealedWindowTest, ContentThatChangedIsTainted) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  EXPECT_LT(::open(name_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC), 0);  // breaks the lease
  content_is_right_ = false;
  EXPECT_EQ(one->close(), Verdict::tainted);
}

// Where nobody knows what the content was, a broken lease is no trouble as long as the kernel has not ended
// it.
TEST_F(UnsealedWindowTest, ContentThatNobodyKnowsIsRightAsLongAsTheLeaseLasts) {
  file_.same_content = {};
  const auto one = window();
  ASSERT_TRUE(one->open());
  EXPECT_LT(::open(name_.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC), 0);  // breaks the lease
  EXPECT_EQ(one->close(), Verdict::retire);
}

// Others may have it open and mapped: a descriptor of it must not become one for writing.
TEST_F(UnsealedWindowTest, IsSealedAlsoWhenItsLastNameIsGone) {
  const auto one = window();
  ASSERT_TRUE(one->open());
  ASSERT_EQ(::unlink(name_.c_str()), 0);
  ASSERT_EQ(::unlink((dir_ / "master").c_str()), 0);
  EXPECT_EQ(one->close(), Verdict::intact);
  EXPECT_LT(::open(("/proc/self/fd/" + std::to_string(fd_.get())).c_str(), O_WRONLY | O_CLOEXEC), 0);
}

// --- One file, one change ---------------------------------------------------------------------------------

class UnsealedMomentTest : public UnsealedWindowTest {
 protected:
  void SetUp() override {
    UnsealedWindowTest::SetUp();
    if (!IsSkipped()) ok_or_throw(keeper_.start());
  }
  Result link() const {
    return ::link((dir_ / "master").c_str(), (dir_ / "fresh").c_str()) == 0
               ? Result(Ok{})
               : Result(problem_from_errno("link", "fresh"));
  }
  Result unlink() const {
    return ::unlink((dir_ / "fresh").c_str()) == 0 ? Result(Ok{})
                                                   : Result(problem_from_errno("unlink", "fresh"));
  }
  WindowOutcome run(const std::function<Result()>& change) {
    return in_unsealed_window(guard_, file_, keeper_, counts_, &log_, change, [this] { return unlink(); });
  }
  SealKeeper keeper_;
};

TEST_F(UnsealedMomentTest, GivesANameAndSeals) {
  const auto outcome = run([&] { return link(); });
  EXPECT_TRUE(outcome.changed);
  EXPECT_EQ(outcome.verdict, Verdict::intact);
  EXPECT_TRUE(unit::is_sealed(dir_ / "fresh"));
}

TEST_F(UnsealedMomentTest, TakesTheNameBackFromAFileThatAGuestKeepsChanging) {
  int changes = 0;
  guard_.before_seal = [&](int) { ASSERT_EQ(::chmod(name_.c_str(), ++changes % 2 ? 0777 : 0700), 0); };
  const auto outcome = run([&] { return link(); });
  EXPECT_TRUE(outcome.changed);
  EXPECT_EQ(outcome.verdict, Verdict::tainted);
  EXPECT_THAT(outcome.trouble, testing::HasSubstr(dir_ / "master"));
  EXPECT_FALSE(unit::exists(dir_ / "fresh"));
  EXPECT_TRUE(unit::is_sealed(name_));
}

TEST_F(UnsealedMomentTest, AFileFoundAppendOnlyIsSoAgain) {
  unit::unseal(name_);
  const uint32_t append_only = kSealFlags & ~kImmutableFlag;
  ASSERT_TRUE(change_inode_flags(fd_.get(), append_only, true, ""));
  EXPECT_TRUE(in_unsealed_moment(keeper_, fd_.get(), name_,
                                 [&] { return ::unlink(name_.c_str()) == 0 ? 0 : errno; }));
  EXPECT_FALSE(unit::exists(name_));
  EXPECT_EQ(*inode_flags(fd_.get(), "") & kSealFlags, append_only);
  ASSERT_TRUE(change_inode_flags(fd_.get(), kSealFlags, false, ""));
}

TEST_F(UnsealedMomentTest, PutsBackTheClassThatItFound) {
  EXPECT_TRUE(in_unsealed_moment(keeper_, fd_.get(), name_, [&] { return ::chmod(name_.c_str(), 04777); }));
  EXPECT_TRUE(class_is_right());
  EXPECT_TRUE(unit::is_sealed(name_));
}

}  // namespace
}  // namespace vs
