// A guest that is to be deleted: its shared files go without a copy, and nobody else's seal comes off.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "tests/root/unified_host.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

class ForgetTest : public UnifiedHostTest {};

TEST_F(ForgetTest, TheTreeCanBeDeletedOnAFullDiskAndTheOthersAreAsBefore) {
  EXPECT_NE(run({"rm", "-rf", file("gamma")}).exit_code, 0) << "it is sealed";
  ::sync();
  run({"dd", "if=/dev/zero", "of=" + host_->pool() + "/filler", "bs=4096"});
  const auto forgotten = host_->vunify("forget", {"--yes", "gamma"});
  EXPECT_EQ(forgotten.exit_code, 0) << shown(forgotten);
  EXPECT_FALSE(fs::exists(file("gamma")));
  EXPECT_TRUE(is_immutable(file("alpha")));
  for (const size_t i : {0, 1})
    EXPECT_EQ(difference_text(before_[i], snapshot_of(host_->guests()[i].root()), Links::may_merge), "");
  must_run({"rm", "-rf", host_->guest("gamma").root(), host_->pool() + "/filler"});
  EXPECT_THAT(host_->store_defects(), IsEmpty());
}

TEST_F(ForgetTest, NothingIsRemovedUnlessItIsMeant) {
  const auto asked = host_->vunify("forget", {"gamma"});
  EXPECT_EQ(asked.exit_code, 2) << shown(asked);
  EXPECT_THAT(asked.out, HasSubstr("--yes gamma"));
  EXPECT_THAT(host_->vunify("forget", {"-n", "--yes", "gamma"}).out, HasSubstr("usr/share/tool/tool-3"));
  EXPECT_EQ(host_->changes_since(before_), "");
}

TEST_F(ForgetTest, AGuestThatRunsIsRefused) {
  VS_NEEDS_PROGRAM("busybox", "busybox-static");
  fs::copy_file("/usr/bin/busybox", host_->guest("gamma") / "sleep");
  const Process program({"chroot", host_->guest("gamma").root(), "/sleep", "60"});
  ASSERT_TRUE(within(std::chrono::seconds(10), [&] {
    std::error_code error;
    return fs::read_symlink("/proc/" + std::to_string(program.pid()) + "/root", error) ==
           host_->guest("gamma").root();
  }));
  const auto refused = host_->vunify("forget", {"--yes", "gamma"});
  EXPECT_EQ(refused.exit_code, 1) << shown(refused);
  EXPECT_THAT(refused.err, HasSubstr("gamma runs; stop it first"));
  EXPECT_TRUE(is_immutable(file("gamma")));
}

// lxc-destroy of one of three containers; their trees are those of the pool.
class LxcTest : public ForgetTest {
 protected:
  void SetUp() override {
    VS_NEEDS_PROGRAM("lxc-destroy", "lxc");
    ForgetTest::SetUp();
    if (IsSkipped()) return;
    const Command real = host_->command("forget");
    std::string words;  // the host's options, which a file would say on a real host
    for (size_t i = 2; i < real.size(); ++i) words += " '" + real[i] + "'";
    write_script("vunify", "verb=$1; shift; exec '" + real[0] + "' \"$verb\"" + words + " \"$@\"");
    write_script("hook",
                 "PATH='" + containers() + "':$PATH exec '" VS_SOURCE_DIR "/packaging/hooks/lxc-destroy'");
  }
  std::string containers() const { return host_->scratch("lxc"); }
  void write_script(const std::string& name, const std::string& text) const {
    write_file(containers() + "/" + name, "#!/bin/sh\n" + text + "\n");
    fs::permissions(containers() + "/" + name, fs::perms(0755));
  }
  RunResult destroy_gamma(const std::string& more) const {
    write_file(containers() + "/gamma/config",
               "lxc.uts.name = gamma\nlxc.rootfs.path = dir:" + host_->guest("gamma").root() + "\n" + more);
    return run({"lxc-destroy", "-P", containers(), "-n", "gamma"});
  }
};

TEST_F(LxcTest, TheHookKeepsTheSealsOfTheOthers) {
  const auto destroyed = destroy_gamma("lxc.hook.destroy = " + containers() + "/hook\n");
  EXPECT_EQ(destroyed.exit_code, 0) << shown(destroyed);
  EXPECT_FALSE(fs::exists(host_->guest("gamma").root()));
  EXPECT_TRUE(is_immutable(file("alpha")));
  EXPECT_THAT(host_->store_defects(), IsEmpty());
}

TEST_F(LxcTest, WithoutTheHookTheNextRunPutsThemOnAgain) {
  EXPECT_EQ(destroy_gamma("").exit_code, 0);
  ASSERT_FALSE(is_immutable(file("alpha"))) << "lxc-destroy does not do what this test is about";
  fs::create_directories(host_->guest("gamma").root());  // which the host's options name
  EXPECT_EQ(host_->vunify("run").exit_code, 3);
  EXPECT_TRUE(is_immutable(file("alpha")));
  EXPECT_EQ(read_file(file("alpha")), read_file(file("beta")));
}

}  // namespace
}  // namespace vs::test
