// Guests whose package manager is at work while others are shared.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "tests/support/skip.h"
#include "tests/support/test_host.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class PackageWorkRunTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_FILESYSTEM("ext4");
    HostOptions options;
    options.packages = {shared_package("tool", "usr/share/tool", 6)};
    host_ = std::make_unique<TestHost>(options);
  }
  bool shared(const std::string& guest) const {
    return is_immutable(host_->guest(guest) / "usr/share/tool/tool-3");
  }
  std::unique_ptr<TestHost> host_;
};

TEST_F(PackageWorkRunTest, IsLeftAloneNamedAndSharedTheNextNight) {
  const std::string lock = host_->guest("beta") / "var/lib/dpkg/lock";
  {
    const std::string held = host_->scratch("held");
    const Process dpkg({"python3", "-c",
                        "import fcntl,sys,time\nf=open(sys.argv[1],'w')\nfcntl.lockf(f,fcntl.LOCK_EX)\n"
                        "open(sys.argv[2],'w')\ntime.sleep(60)",
                        lock, held});
    ASSERT_TRUE(within(std::chrono::seconds(20), [&] { return fs::exists(held); }));
    const auto ran = host_->vunify("run");
    EXPECT_EQ(ran.exit_code, 3) << shown(ran);
    EXPECT_THAT(ran.err, HasSubstr("beta: dpkg holds var/lib/dpkg/lock"));
  }
  EXPECT_TRUE(shared("alpha") && shared("gamma"));
  EXPECT_FALSE(shared("beta"));
  EXPECT_EQ(host_->vunify("run").exit_code, 0);
  EXPECT_TRUE(shared("beta"));
}

TEST_F(PackageWorkRunTest, AHeldGuestIsLeftAloneUntilTheHoldEnds) {
  ASSERT_EQ(host_->vunify("run").exit_code, 0);
  EXPECT_EQ(host_->vunify("release", {"--hold", "beta"}).exit_code, 0);
  const auto ran = host_->vunify("run");
  EXPECT_EQ(ran.exit_code, 0) << shown(ran);
  EXPECT_THAT(ran.out, HasSubstr("held "));
  EXPECT_FALSE(shared("beta"));
  EXPECT_THAT(host_->vunify("status").out, HasSubstr("held      beta"));
  EXPECT_THAT(host_->vunify("explain", {"beta", "usr/share/tool/tool-3"}).out, HasSubstr("held"));
  EXPECT_EQ(host_->vunify("release", {"--unhold", "beta"}).exit_code, 0);
  EXPECT_EQ(host_->vunify("run").exit_code, 0);
  EXPECT_TRUE(shared("beta"));
}

TEST_F(PackageWorkRunTest, AnUpgradeThatWasInterruptedIsWaitedFor) {
  write_file(host_->guest("beta") / "var/lib/dpkg/updates/0003", "");
  const auto ran = host_->vunify("run");
  EXPECT_EQ(ran.exit_code, 3) << shown(ran);
  EXPECT_THAT(ran.err, HasSubstr("dpkg --configure -a"));
  EXPECT_FALSE(shared("beta"));
}

}  // namespace
}  // namespace vs::test
