// Real cgroups; all of it needs root and a hierarchy of version 2.
#include "core/guest_freezer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/cgroup_freeze.h"
#include "tests/support/run.h"
#include "tests/support/skip.h"
#include "tests/support/temp_dir.h"
#include "tests/support/within.h"

namespace vs {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;

class GuestFreezerTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ROOT("makes cgroups");
    if (cgroup2_mount().empty()) VS_SKIP(kKernel) << "no cgroup hierarchy of version 2";
    VS_NEEDS_PROGRAM("busybox", "busybox-static");
    tree_ = dir_ / "tree";
    fs::create_directories(tree_);
    fs::copy_file("/usr/bin/busybox", tree_ + "/busybox");
    cgroup_ = cgroup2_mount() + "/test-freezer-" + std::to_string(::getpid());
    fs::create_directories(cgroup_ + "/guest/inner");
  }
  void TearDown() override {
    if (cgroup_.empty()) return;
    guest_.reset();
    other_.reset();
    for (const char* below : {"/guest/inner", "/guest", ""})
      EXPECT_TRUE(
          test::within(10s, [&] { return ::rmdir((cgroup_ + below).c_str()) == 0 || errno != EBUSY; }));
  }
  // A process with the tree (or the host's root) for its root, in a cgroup below ours, which writes all the
  // time.
  std::unique_ptr<test::Process> process_in(
      const std::string& cgroup, const std::string& root,
      const std::string& work = "while :; do echo x >> /count; done") const {
    const std::string loop = root == "/"
                                 ? "exec sleep 60"
                                 : "exec chroot '" + root + "' /busybox sh -c '" + work + "' < /dev/zero";
    auto process = std::make_unique<test::Process>(
        test::Command{"sh", "-c", "echo 0 > '" + cgroup_ + cgroup + "/cgroup.procs'; " + loop});
    EXPECT_TRUE(test::within(10s, [&] {
      return procs(cgroup).find(std::to_string(process->pid())) != std::string::npos &&
             has_root(*process, root);
    }));
    return process;
  }
  static bool has_root(const test::Process& process, const std::string& root) {
    std::error_code error;
    return fs::read_symlink("/proc/" + std::to_string(process.pid()) + "/root", error) == root;
  }
  std::string procs(const std::string& cgroup) const {
    return test::read_file(cgroup_ + cgroup + "/cgroup.procs");
  }
  Guest guest() const { return {"guest", "--tree", RootDir(tree_)}; }
  uintmax_t written() const { return fs::exists(tree_ + "/count") ? fs::file_size(tree_ + "/count") : 0; }
  bool writes() const {
    const auto before = written();
    return test::within(1s, [&] { return written() != before; });
  }

  test::TempDir dir_;
  std::string tree_, cgroup_;
  std::unique_ptr<test::Process> guest_, other_;
};

TEST_F(GuestFreezerTest, FreezesTheCgroupThatHoldsAllOfAGuestAndThawsIt) {
  guest_ = process_in("/guest/inner", tree_);
  other_ = process_in("/guest", tree_);
  ASSERT_TRUE(writes());
  {
    const auto frozen = make_cgroup_freezer()->freeze(guest(), 5s);
    ASSERT_TRUE(frozen) << frozen.error().message;
    EXPECT_TRUE((*frozen)->holds_still());
    EXPECT_TRUE(is_frozen(cgroup_ + "/guest"));
    const auto before = written();
    std::this_thread::sleep_for(50ms);  // what is tested: that nothing is written for a while
    EXPECT_EQ(written(), before);
  }
  EXPECT_TRUE(writes());
}

// The kernel calls a cgroup frozen as soon as those below it are; so one with processes of its own, which are
// long in a call, would still write.
TEST_F(GuestFreezerTest, ACgroupWithProcessesBesideCgroupsStandsStillToo) {
  guest_ = process_in("/guest/inner", tree_, "exec /busybox sleep 60");
  other_ = process_in("/guest", tree_, "while :; do /busybox dd bs=16M count=1 of=/large 2> /log; done");
  const auto large = [&] { return fs::exists(tree_ + "/large") ? fs::file_size(tree_ + "/large") : 0; };
  ASSERT_TRUE(test::within(10s, [&] { return large() != 0; }));
  for (int i = 0; i < 10; ++i) {
    const auto frozen = make_cgroup_freezer()->freeze(guest(), 30s);
    ASSERT_TRUE(frozen) << frozen.error().message;
    const auto before = large();
    std::this_thread::sleep_for(50ms);  // what is tested: that nothing is written for a while
    EXPECT_EQ(large(), before);
    EXPECT_TRUE((*frozen)->holds_still());
  }
}

TEST_F(GuestFreezerTest, AGuestThatDoesNotRunIsToldApart) {
  const auto frozen = make_cgroup_freezer()->freeze(guest(), 5s);
  ASSERT_FALSE(frozen);
  EXPECT_EQ(frozen.error().code, ESRCH);
}

// A guest whose processes have all changed their root directory to one inside of it, as a server that jails
// itself does.
TEST_F(GuestFreezerTest, AGuestThatRunsInAJailOfItsOwnRuns) {
  const std::string jail = tree_ + "/srv/jail", beside = dir_ / "tree-too";
  for (const auto& root : {jail, beside}) {
    fs::create_directories(root);
    fs::copy_file("/usr/bin/busybox", root + "/busybox");
  }
  other_ = process_in("/guest", beside);
  const auto not_its_own = make_cgroup_freezer()->freeze(guest(), 5s);
  ASSERT_FALSE(not_its_own);
  EXPECT_EQ(not_its_own.error().code, ESRCH);
  guest_ = process_in("/guest/inner", jail);
  const auto size = [&] { return fs::exists(jail + "/count") ? fs::file_size(jail + "/count") : 0; };
  ASSERT_TRUE(test::within(10s, [&] { return size() != 0; }));
  const auto frozen = make_cgroup_freezer()->freeze(guest(), 5s);
  ASSERT_TRUE(frozen) << frozen.error().message;
  const auto before = size();
  std::this_thread::sleep_for(50ms);  // what is tested: that nothing is written for a while
  EXPECT_EQ(size(), before);
}

TEST_F(GuestFreezerTest, NothingOfTheHostIsFrozen) {
  guest_ = process_in("/guest/inner", tree_);
  other_ = process_in("/guest/inner", "/");
  const auto shared = make_cgroup_freezer()->freeze(guest(), 5s);
  ASSERT_FALSE(shared);
  EXPECT_EQ(shared.error().code, ENOTSUP);
  EXPECT_THAT(shared.error().message, HasSubstr("process " + std::to_string(other_->pid()) + " of the host"));
  EXPECT_TRUE(writes());
}

TEST_F(GuestFreezerTest, AChrootInACgroupOfTheHostIsRefusedByName) {
  guest_ = process_in("/guest/inner", tree_);
  const test::Process stray({"chroot", tree_, "/busybox", "sleep", "60"});
  ASSERT_TRUE(test::within(10s, [&] { return has_root(stray, tree_); }));
  const auto frozen = make_cgroup_freezer()->freeze(guest(), 5s);
  ASSERT_FALSE(frozen);
  EXPECT_EQ(frozen.error().code, ENOTSUP);
  EXPECT_THAT(frozen.error().message, HasSubstr("cannot be frozen"));
}

TEST_F(GuestFreezerTest, WhatSomebodyFrozeBeforeStaysFrozen) {
  guest_ = process_in("/guest/inner", tree_);
  ASSERT_TRUE(set_frozen(cgroup_ + "/guest/inner", true, 5s));
  { ASSERT_TRUE(make_cgroup_freezer()->freeze(guest(), 5s)); }
  EXPECT_TRUE(is_frozen(cgroup_ + "/guest/inner"));
  ASSERT_TRUE(set_frozen(cgroup_ + "/guest/inner", false, 5s));
}

TEST_F(GuestFreezerTest, AFreezerThatIsKilledLeavesNobodyFrozen) {
  guest_ = process_in("/guest/inner", tree_);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto frozen = make_cgroup_freezer()->freeze(guest(), 30s);
    ::raise(frozen ? SIGKILL : SIGABRT);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_TRUE(test::within(10s, [&] { return !is_frozen(cgroup_ + "/guest/inner"); }));
  EXPECT_TRUE(writes());
}

}  // namespace
}  // namespace vs
