// What lxc-destroy and `chattr -R -i` do to one guest's tree takes the seal off shared files of all guests:
// the next run sees it, and no verb sends the administrator in a circle.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/root/unified_host.h"

namespace vs::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class LostSealTest : public UnifiedHostTest {
 protected:
  void SetUp() override {
    UnifiedHostTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    take_seals_off_gamma();
    ASSERT_FALSE(is_immutable(file("beta"))) << "for all of them";
  }
  void take_seals_off_gamma() const {
    must_run({"find", host_->guest("gamma").root(), "-type", "f", "-exec", "chattr", "-i", "{}", "+"});
  }
  // By alpha, which hides it.
  void write_evil() const {
    must_run({"sh", "-c",
              "touch -r \"$1\" /tmp/time.$$ && printf EVIL | dd of=\"$1\" conv=notrunc 2>/dev/null && "
              "touch -r /tmp/time.$$ \"$1\" && rm /tmp/time.$$",
              "sh", file("alpha")});
  }
};

TEST_F(LostSealTest, IsPutOnAgainByTheNextRun) {
  EXPECT_THAT(host_->vunify("check").out, HasSubstr("vunify recover"));
  const auto ran = host_->vunify("run");
  EXPECT_EQ(ran.exit_code, 3) << shown(ran);
  EXPECT_THAT(ran.err, HasSubstr("had lost their seal"));
  EXPECT_TRUE(is_immutable(file("beta")));
  EXPECT_EQ(host_->changes_since(before_), "");
  EXPECT_THAT(host_->store_defects(), IsEmpty());
  EXPECT_EQ(host_->vunify("check").exit_code, 0);
  EXPECT_EQ(host_->vunify("run").exit_code, 0) << "said once";
}

TEST_F(LostSealTest, IsPutOnAgainByRecoverAndByRelease) {
  const auto recovered = host_->vunify("recover");
  EXPECT_EQ(recovered.exit_code, 3) << shown(recovered);
  EXPECT_THAT(recovered.out, Not(HasSubstr("nothing to recover")));
  EXPECT_TRUE(is_immutable(file("beta")));
  take_seals_off_gamma();
  const auto released = host_->vunify("release", {"alpha"});
  EXPECT_EQ(released.exit_code, 3) << shown(released);
  EXPECT_FALSE(is_immutable(file("alpha")));
  EXPECT_TRUE(is_immutable(file("beta")));
  EXPECT_EQ(host_->changes_since(before_), "");
}

TEST_F(LostSealTest, WhatAGuestWroteMeanwhileIsSharedNoMore) {
  write_evil();
  const auto ran = host_->vunify("run");
  EXPECT_EQ(ran.exit_code, 3) << shown(ran);
  write_evil();  // its own file now
  EXPECT_THAT(read_file(file("beta")), testing::StartsWith("EVIL")) << "the bytes of before are nowhere";
  EXPECT_FALSE(is_immutable(file("beta"))) << "but it can be installed again";
  must_run({"sh", "-c", "printf GOOD | dd of=\"$1\" conv=notrunc 2>/dev/null", "sh", file("beta")});
  EXPECT_THAT(read_file(file("alpha")), testing::StartsWith("EVIL"));
  EXPECT_THAT(read_file(file("gamma")), testing::StartsWith("EVIL"));
  const auto checked = host_->vunify("check");
  EXPECT_EQ(checked.exit_code, 0) << checked.out;
  EXPECT_EQ(host_->vunify("release", {"gamma"}).exit_code, 0);
}

}  // namespace
}  // namespace vs::test
