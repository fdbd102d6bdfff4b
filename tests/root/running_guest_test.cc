// Guests whose programs run while their files are shared and released: each program is known by its own path
// afterwards, as after an upgrade (unify/change/exchange.h, "What runs").
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>

#include "core/cgroup_freeze.h"
#include "tests/support/skip.h"
#include "tests/support/test_cgroup.h"
#include "tests/support/test_host.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

// The package "daemon" has usr/sbin/sleep, a program that needs nothing else; in alpha it runs.
class RunningGuestTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_FILESYSTEM("ext4");
    VS_NEEDS_PROGRAM("busybox", "busybox-static");
    if (cgroup2_mount().empty()) VS_SKIP(kKernel) << "no cgroup hierarchy of version 2";
    FakePackage daemon = shared_package("daemon", "usr/share/daemon", 3);
    daemon.files.push_back({"usr/sbin/sleep", read_file("/usr/bin/busybox"), 0755});
    HostOptions options;
    options.guests = {"alpha", "beta"};
    options.packages = {daemon};
    options.mebibytes = 64;
    host_ = std::make_unique<TestHost>(options);
    cgroup_ = std::make_unique<TestCgroup>("running");
  }
  enum class Cgroup { own, hosts };
  void start_daemon(Cgroup where) {
    const std::string into = where == Cgroup::own ? cgroup_->entering() : "";
    daemon_ = std::make_unique<Process>(
        Command{"sh", "-c", into + "exec chroot '" + host_->guest("alpha").root() + "' /usr/sbin/sleep 600"});
    ASSERT_TRUE(within(10s, [&] { return runs_as() == program(); }));
  }
  std::string program() const { return host_->guest("alpha") / "usr/sbin/sleep"; }
  // As the host sees it.
  std::string runs_as() const {
    std::error_code error;
    return fs::read_symlink("/proc/" + std::to_string(daemon_->pid()) + "/exe", error);
  }
  bool shared() const { return is_immutable(program()); }

  std::unique_ptr<TestHost> host_;
  std::unique_ptr<TestCgroup> cgroup_;
  std::unique_ptr<Process> daemon_;
};

TEST_F(RunningGuestTest, AProgramKeepsItsPathWhenItIsSharedAndWhenItIsReleased) {
  start_daemon(Cgroup::own);
  const auto before = host_->snapshots();
  const auto ran = host_->vunify("run", {"--json"});
  EXPECT_EQ(ran.exit_code, 0) << shown(ran);
  EXPECT_TRUE(shared());
  EXPECT_EQ(runs_as(), program() + " (deleted)") << "as after an upgrade";
  EXPECT_EQ(host_->changes_since(before), "");
  EXPECT_TRUE(daemon_->running());
  EXPECT_GE(summary_number(ran, "bytes_held"), fs::file_size(program()))
      << "the daemon still holds the old file";

  // Restarted it runs from the shared file, and a release gives it the same.
  daemon_.reset();
  start_daemon(Cgroup::own);
  const auto released = host_->vunify("release", {"alpha"});
  EXPECT_EQ(released.exit_code, 0) << shown(released);
  EXPECT_FALSE(shared());
  EXPECT_EQ(runs_as(), program() + " (deleted)");
  EXPECT_EQ(host_->changes_since(before), "");
}

// Font caches and backups look at them. Exchanged names, and one that is renamed over since it runs.
TEST_F(RunningGuestTest, DirectoriesKeepTheirTimes) {
  start_daemon(Cgroup::own);
  const auto times = [&] {
    return must_run({"find", host_->guest("alpha").root(), host_->guest("beta").root(), "-type", "d",
                     "-printf", "%p %T@\n"});
  };
  must_run(
      {"find", host_->guest("alpha").root(), "-type", "d", "-exec", "touch", "-d", "2020-02-02", "{}", "+"});
  const std::string before = times();
  EXPECT_EQ(host_->vunify("run").exit_code, 0);
  EXPECT_TRUE(shared());
  EXPECT_EQ(times(), before);
  EXPECT_EQ(host_->vunify("release", {"alpha"}).exit_code, 0);
  EXPECT_EQ(times(), before);
  EXPECT_EQ(host_->vunify("run").exit_code, 0);
  EXPECT_EQ(host_->vunify("undo", {"last"}).exit_code, 0);
  EXPECT_EQ(times(), before);
}

// Started by hand from the host: it is in the company of the host's processes, and nothing stops those.
TEST_F(RunningGuestTest, AProgramThatCannotStandStillIsLeftAlone) {
  start_daemon(Cgroup::hosts);
  const auto ran = host_->vunify("run");
  EXPECT_EQ(ran.exit_code, 0) << "a rule, not a trouble: " << shown(ran);
  EXPECT_THAT(ran.out, HasSubstr("running 1"));
  EXPECT_FALSE(shared());
  EXPECT_EQ(runs_as(), program());
  EXPECT_TRUE(is_immutable(host_->guest("alpha") / "usr/share/daemon/daemon-1")) << "the others are shared";
  daemon_.reset();
  EXPECT_THAT(host_->vunify("run").out, Not(HasSubstr("running")));
  EXPECT_TRUE(shared());
}

// A sandbox that hides whose processes are a guest's is no reason to think that nobody runs.
TEST_F(RunningGuestTest, WhoCannotSeeProcessesLeavesWhatIsOpenAlone) {
  VS_NEEDS_PROGRAM("setpriv", "util-linux");
  start_daemon(Cgroup::own);
  Command blind = host_->command("run");
  blind.insert(blind.begin(), {"setpriv", "--bounding-set", "-sys_ptrace"});
  const auto ran = run(blind);
  EXPECT_EQ(ran.exit_code, 0) << shown(ran);
  EXPECT_THAT(ran.out, HasSubstr("running 1"));
  EXPECT_EQ(runs_as(), program());
  Command forget = host_->command("forget", {"--yes", "alpha"});
  forget.insert(forget.begin(), {"setpriv", "--bounding-set", "-sys_ptrace"});
  EXPECT_EQ(run(forget).exit_code, 1) << "nor to take its files away";
}

TEST_F(RunningGuestTest, NobodyIsStoppedWhereTheAdministratorSaysSo) {
  start_daemon(Cgroup::own);
  EXPECT_THAT(host_->vunify("run", {"--no-freeze"}).out, HasSubstr("running 1"));
  EXPECT_FALSE(shared());
  EXPECT_EQ(runs_as(), program());
}

}  // namespace
}  // namespace vs::test
