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
    HostOptions options;
    options.packages = {shared_package("tool", "usr/share/tool", 20)};
    begin(std::move(options));
  }
  void begin(HostOptions options) {
    VS_NEEDS_FILESYSTEM("ext4");
    options.guests = {"alpha", "beta"};
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

// Files that a guest has for itself alone.
class OwnProjectTest : public ProjectTest {
 protected:
  void SetUp() override {
    HostOptions options;
    options.scope = "all";
    options.prepare = [](const FakeGuest& guest) {
      put(guest / kOne, guest.name() + " twice");
      put(guest / kTwo, guest.name() + " twice");
      put(guest / kBoth, "all");
    };
    begin(std::move(options));
  }
  // Of one modification time, so of one class.
  static void put(const std::string& path, const std::string& content) {
    write_file(path, content);
    set_mtime(path, 1'700'000'000'000'000'000);
  }
  std::string mine(const std::string& name) const { return alpha() / name; }
  std::string beta(const std::string& name) const { return host_->guest("beta") / name; }
  std::string project(const std::string& path) const { return projects({path}).front(); }
  RunResult run_vunify() const {
    auto ran = host_->vunify("run", {"--json"});
    EXPECT_EQ(ran.exit_code, 0) << shown(ran);
    EXPECT_EQ(host_->vunify("check").exit_code, 0);
    return ran;
  }
  static inline const std::string kOne = "usr/share/one", kTwo = "usr/share/two", kBoth = "usr/share/both";
};

TEST_F(OwnProjectTest, WhatOneGuestAloneHasCountsForIt) {
  const auto ran = run_vunify();
  EXPECT_THAT(ran.out, HasSubstr("\"own_project\":2"));
  for (const auto& name : {kOne, kTwo}) {
    EXPECT_FALSE(is_immutable(mine(name))) << "it has a quota";
    EXPECT_EQ(project(mine(name)), "4711");
    EXPECT_TRUE(is_immutable(beta(name))) << "it has none";
  }
  EXPECT_TRUE(is_immutable(mine(kBoth)));
  EXPECT_THAT(host_->vunify("explain", {"alpha", kOne}).out, HasSubstr("own_project"));
  EXPECT_THAT(run_vunify().out, HasSubstr("\"own_project\":2")) << "the next night, by what the index knows";
}

TEST_F(OwnProjectTest, WhatOthersDroppedCountsForTheOneThatStillHasIt) {
  run_vunify();
  ASSERT_TRUE(is_immutable(mine(kBoth)));
  ASSERT_EQ(project(mine(kBoth)), "0");
  ASSERT_EQ(host_->vunify("release", {"beta", kBoth}).exit_code, 0);
  must_run({"rm", beta(kBoth)});
  run_vunify();
  EXPECT_FALSE(is_immutable(mine(kBoth)));
  EXPECT_EQ(project(mine(kBoth)), "4711");
  EXPECT_EQ(read_file(mine(kBoth)), "all");
  run_vunify();  // its master is in the store still
  EXPECT_FALSE(is_immutable(mine(kBoth)));
  // The other one has it again.
  put(beta(kBoth), "all");
  run_vunify();
  EXPECT_TRUE(is_immutable(mine(kBoth)));
}

}  // namespace
}  // namespace vs::test
