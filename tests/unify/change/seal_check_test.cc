// Masters that lost their seal to a program of the host: found, judged, sealed again or taken from everybody.
#include "unify/change/seal_check.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/stat.h>

#include "core/store/inode_flags.h"
#include "core/store/reseal.h"
#include "tests/support/skip.h"
#include "tests/unify/fixture.h"
#include "unify/opened_pool.h"

namespace vs::unify {
namespace {

using testing::IsEmpty;

// usr/x is shared by a, b and c; usr/w has the same bytes and another mode, so it is another master.
class SealCheckTest : public unit::HostTest {
 protected:
  std::vector<std::string> names() const override { return {"a", "b", "c"}; }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().everywhere("usr/x", "same");
    host().everywhere("usr/y", "other content");
  }
  void share() {
    host().unify();
    ASSERT_TRUE(host().shared("usr/x") && host().shared("usr/y"));
  }
  SealsFound look() {
    return look_at_seals(*host().store, *host().guard, host().masters, *host().index, host().context.run);
  }
  // What each verb that writes does first.
  void make_pool_whole() {
    Options options;
    for (const char* guest : {"a", "b", "c"})
      options.trees.push_back(std::string(guest) + "=" + host().path(guest));
    options.state = host().state();
    options.store = host().store_path();
    options.guard = "immutable";
    options.scope = "all";
    host().index.reset();  // one environment a process
    open_whole_pool(options, host().context.run);
  }
  void write_unsealed(const std::string& content) {
    unit::unseal(x("a"));
    const auto mtime = unit::lstat_of(x("a")).st_mtim;
    unit::write_file(x("a"), content);
    unit::set_mtime(x("a"), mtime.tv_sec * 1'000'000'000LL + mtime.tv_nsec);  // it hides that
  }
  std::string x(const char* guest) { return host().path(guest, "usr/x"); }
  uint64_t told() { return host().context.log.failed_objects(); }
};

TEST_F(SealCheckTest, NothingIsSaidOfWhatIsSealed) {
  share();
  const auto found = look();
  EXPECT_EQ(found.sealed_again + found.retired, 0u);
  EXPECT_EQ(told(), 0u);
}

TEST_F(SealCheckTest, WhatIsAsItWasMadeIsSealedAgainWithItsClass) {
  share();
  unit::unseal(x("a"));
  unit::unseal(host().path("a", "usr/y"));
  ASSERT_EQ(::chmod(x("b").c_str(), 04777), 0);
  const UniqueFd fd(::open(x("c").c_str(), O_RDONLY | O_CLOEXEC));
  const InodeMarks before = marks_of(fd.get());
  ok_or_throw(change_inode_flags(fd.get(), FS_NODUMP_FL, true, x("c")));
  const auto found = look();
  EXPECT_EQ(found.sealed_again, 2u);
  EXPECT_EQ(found.retired, 0u);
  EXPECT_TRUE(unit::is_sealed(x("a")));
  EXPECT_EQ(unit::lstat_of(x("a")).st_mode & 07777, 0644u);
  EXPECT_EQ(marks_of(fd.get()), before);
  EXPECT_TRUE(host().shared("usr/x"));
  EXPECT_GT(told(), 0u) << "exit code 3";
  EXPECT_EQ(look().sealed_again, 0u);
}

TEST_F(SealCheckTest, WhatWasChangedIsTakenFromEverybodyAsTheySeeIt) {
  if (::unshare(CLONE_NEWNS) != 0) VS_SKIP(kRoot) << "a private view of the mount needs root";
  share();
  write_unsealed("EVIL");
  make_pool_whole();
  for (const char* guest : {"a", "b", "c"}) {
    EXPECT_EQ(unit::read_file(x(guest)), "EVIL") << "nobody knows what it was; nothing changes unasked";
    EXPECT_FALSE(unit::is_sealed(x(guest))) << "it can be mended from within";
  }
  EXPECT_NE(unit::ino_of(x("a")), unit::ino_of(x("b")));
  EXPECT_NE(unit::ino_of(x("b")), unit::ino_of(x("c")));
  EXPECT_TRUE(host().shared("usr/y"));
  EXPECT_GT(told(), 1u);
}

TEST_F(SealCheckTest, WhatWasChangedComesBackFromAnotherMasterOfTheSameBytes) {
  if (::unshare(CLONE_NEWNS) != 0) VS_SKIP(kRoot) << "a private view of the mount needs root";
  host().everywhere("usr/w", "same", 0755);
  share();
  ASSERT_NE(host().ino("a", "usr/w"), host().ino("a", "usr/x"));
  write_unsealed("EVIL and longer");
  make_pool_whole();
  for (const char* guest : {"a", "b", "c"}) {
    EXPECT_EQ(unit::read_file(x(guest)), "same");
    EXPECT_EQ(unit::lstat_of(x(guest)).st_mode & 07777, 0644u);
  }
  EXPECT_NE(unit::ino_of(x("a")), unit::ino_of(x("b")));
  EXPECT_TRUE(host().shared("usr/w"));
}

// It is sealed at once, and gets no more names; its names wait for the night in which nobody has it open.
TEST_F(SealCheckTest, WhatSomebodyCanStillWriteToIsRetired) {
  if (::unshare(CLONE_NEWNS) != 0) VS_SKIP(kRoot) << "a private view of the mount needs root";
  share();
  unit::unseal(x("a"));
  UniqueFd writer(::open(x("b").c_str(), O_RDWR | O_CLOEXEC));
  make_pool_whole();
  EXPECT_TRUE(unit::is_sealed(x("a")));
  EXPECT_LT(::pwrite(writer.get(), "EVIL", 4, 0), 0);
  EXPECT_GT(told(), 0u);
}

}  // namespace
}  // namespace vs::unify
