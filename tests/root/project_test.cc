// A guest whose directories hand down a project of its own (a quota): shared, released, and interrupted in
// between. Runs where the kernel has quotas (tests/vm/unify_quota.sh).
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/inject.h"
#include "tests/support/skip.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class ProjectTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_FILESYSTEM("ext4");
    HostOptions options;
    options.guests = {"alpha", "beta"};
    options.packages = {shared_package("tool", "usr/share/tool", 20)};
    options.mkfs_options = "-O quota,project -E quotatype=prjquota";
    try {
      host_ = std::make_unique<TestHost>(options);
    } catch (const std::exception& error) {
      VS_SKIP(kKernel) << "this kernel has no project quota: " << error.what();
    }
    must_run({"find", alpha().root(), "(", "-type", "d", "-o", "-type", "f", ")", "-exec", "chattr", "-p",
              "4711", "{}", "+"});
    must_run({"find", alpha().root(), "-type", "d", "-exec", "chattr", "+P", "{}", "+"});
  }
  const FakeGuest& alpha() const { return host_->guest("alpha"); }
  // Of each path.
  std::vector<std::string> projects(const std::vector<std::string>& paths) const {
    std::vector<std::string> found;
    for (const auto& path : paths)
      found.push_back(
          must_run({"sh", "-c", "lsattr -d -p \"$1\" | awk '{ printf \"%s\", $1 }'", "sh", path}));
    return found;
  }
  std::string file(int i) const { return alpha() / fmt::format("usr/share/tool/tool-{}", i); }
  std::unique_ptr<TestHost> host_;
};

TEST_F(ProjectTest, IsSharedAsOthersAreAndMastersCountForNobody) {
  const auto before = host_->snapshots();
  const auto ran = host_->vunify("run", {"--json"});
  EXPECT_EQ(ran.exit_code, 0) << shown(ran);
  EXPECT_GE(summary_number(ran, "files_linked"), 2 * 15u);
  EXPECT_EQ(host_->changes_since(before), "");
  EXPECT_TRUE(is_immutable(file(3)));
  ASSERT_THAT(host_->masters(), Not(IsEmpty()));
  EXPECT_THAT(projects(host_->masters()), Each("0"));
  const auto released = host_->vunify("release", {"alpha"});
  EXPECT_EQ(released.exit_code, 0) << shown(released);
  EXPECT_EQ(host_->changes_since(before), "");
  EXPECT_FALSE(is_immutable(file(3)));
  EXPECT_THAT(projects({file(3), file(7)}), Each("4711")) << "its own copies count for it";
  EXPECT_THAT(projects(host_->masters()), Each("0"));
  EXPECT_EQ(host_->vunify("run").exit_code, 0);
  EXPECT_EQ(host_->vunify("undo", {"last"}).exit_code, 0);
  EXPECT_EQ(host_->changes_since(before), "");
  EXPECT_EQ(host_->vunify("check").exit_code, 0);
}

TEST_F(ProjectTest, AKilledRunLeavesNoMasterWithAGuestsProject) {
  VS_STOP_IF(injection_impossible());
  const auto before = host_->snapshots();
  bool interrupted = false;
  for (const int at : {3, 5, 8}) {
    // Between the exchange, which is refused at first and then allowed, and the call that gives the master
    // its own project back.
    const auto killed =
        run(with_injection(host_->command("run", {"-j1"}), "renameat2", "signal=KILL", std::to_string(at)));
    interrupted = interrupted || killed.killed();
    EXPECT_EQ(host_->vunify("recover").exit_code, 0);
    EXPECT_THAT(projects(host_->masters()), Each("0")) << "killed at renameat2 number " << at;
    EXPECT_EQ(host_->trouble_after_recovery(before), "");
    EXPECT_EQ(host_->vunify("release", {"alpha"}).exit_code, 0);
  }
  EXPECT_TRUE(interrupted);
}

TEST_F(ProjectTest, AFileThatFitsNoMoreStaysSharedAndIsNamed) {
  ASSERT_EQ(host_->vunify("run").exit_code, 0);
  must_run({"mount", "-o", "remount,prjquota", host_->pool()});
  must_run({"setquota", "-P", "4711", "0", "1", "0", "0", host_->pool()});
  const auto before = host_->snapshots();
  const auto released = host_->vunify("release", {"alpha"});
  EXPECT_EQ(host_->changes_since(before), "") << shown(released);
  EXPECT_THAT(projects(host_->masters()), Each("0"));
  EXPECT_THAT(host_->store_defects(), IsEmpty());
}

}  // namespace
}  // namespace vs::test
