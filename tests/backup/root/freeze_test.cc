// The consistency ladder with a guest that really runs, in a cgroup of its own, and writes all the time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <thread>

#include "core/cgroup_freeze.h"
#include "tests/backup/backup_host.h"
#include "tests/support/skip.h"
#include "tests/support/test_host.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;

// Writes to "a" and then to "z/z", forever: in every moment z has as much as a, or one step less. Between the
// two there is so much to read (directories come in order, behind the files beside them) that a live backup
// reads z long after a.
class RunningGuest {
 public:
  explicit RunningGuest(const std::string& tree)
      : cgroup_(cgroup2_mount() + "/test-backup-" + std::to_string(::getpid())) {
    fs::create_directories(tree + "/bin");
    fs::copy_file("/usr/bin/busybox", tree + "/bin/busybox");
    fs::create_directories(tree + "/middle");
    must_run({"bash", "-c",
              "cd '" + tree + "/middle' && for i in $(seq 60); do head -c 1000000 /dev/urandom > $i; done"});
    write_file(tree + "/a", "");
    write_file(tree + "/z/z", "");
    fs::create_directories(cgroup_);
    process_ = std::make_unique<Process>(
        Command{"sh", "-c",
                "echo 0 > '" + cgroup_ + "/cgroup.procs'; exec chroot '" + tree +
                    "' /bin/busybox sh -c 'while :; do echo x >> /a; echo x >> /z/z; done'"});
    EXPECT_TRUE(within(10s, [&] { return fs::file_size(tree + "/z/z") != 0; }));
  }
  ~RunningGuest() {
    process_.reset();
    EXPECT_TRUE(within(10s, [&] { return ::rmdir(cgroup_.c_str()) == 0 || errno != EBUSY; }));
  }
  std::string cgroup() const { return cgroup_; }
  void end() { process_.reset(); }

 private:
  std::string cgroup_;
  std::unique_ptr<Process> process_;
};

class FreezeTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ROOT("makes cgroups");
    if (cgroup2_mount().empty()) VS_SKIP(kKernel) << "no cgroup hierarchy of version 2";
    VS_NEEDS_PROGRAM("busybox", "busybox-static");
    fs::create_directories(tree_);
  }
  Command create(const Command& more = {}) const {
    Command line{vbackup_path(), "create", "--init",         "--to",       dir_ / "set", "--state",
                 dir_ / "state", "--tree", "guest=" + tree_, "--progress", "never",      "--json"};
    line.insert(line.end(), more.begin(), more.end());
    return line;
  }
  // How many steps z is behind a, in what is restored.
  long behind(const std::string& what, const std::string& into) const {
    must_run({vbackup_path(), "restore", "--to", dir_ / "set", "--target", dir_ / into, "--progress", "never",
              what});
    const auto size = [&](const char* file) {
      return static_cast<long>(fs::file_size(dir_ / (into + "/guest/" + file)));
    };
    return (size("a") - size("z/z")) / 2;
  }
  TempDir dir_;
  std::string tree_ = dir_ / "tree";
};

TEST_F(FreezeTest, TheArchiveOfAFrozenGuestIsOneMomentOfItAndTheLiveOneIsNot) {
  RunningGuest guest(tree_);
  const RunResult result = run(create());
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("\"running\":true,\"frozen\":true"));
  EXPECT_FALSE(is_frozen(guest.cgroup()));
  const std::string list = must_run({vbackup_path(), "list", "--to", dir_ / "set", "--json"});
  EXPECT_THAT(list, HasSubstr("\"frozen\""));
  const long frozen = behind("guest", "frozen");
  EXPECT_GE(frozen, 0);
  EXPECT_LE(frozen, 1);
  // The first archive of the run is of the guest while it went on: proof that the test can fail.
  const size_t at = result.out.find("\"stamp\":\"", result.out.find("\"consistency\""));
  ASSERT_NE(at, std::string::npos);
  const std::string frozen_stamp = result.out.substr(at + 9, 16);
  std::string live_stamp;
  for (const auto& entry : fs::directory_iterator(dir_ / "set"))
    if (const std::string name = entry.path().filename();
        name.starts_with("guest-full-") && name.ends_with(".zst"))
      live_stamp = name.substr(11, 16);
  EXPECT_LT(live_stamp, frozen_stamp);
  EXPECT_LT(behind("guest@" + live_stamp, "live"), 0);
}

TEST_F(FreezeTest, ANightOfARunningGuestIsOneBackupAndItsSecondArchiveNeverAFull) {
  RunningGuest guest(tree_);
  for (int night = 0; night < 2; ++night) ASSERT_EQ(run(create({"--longest-chain", "0"})).exit_code, 0);
  size_t full = 0, incremental = 0;
  for (const auto& entry : fs::directory_iterator(dir_ / "set")) {
    const std::string name = entry.path().filename();
    if (!name.ends_with(".tar.zst")) continue;
    full += name.starts_with("guest-full-") ? 1 : 0;
    incremental += name.starts_with("guest-inc-") ? 1 : 0;
  }
  EXPECT_EQ(full, 2u) << "each night begins a chain";
  EXPECT_EQ(incremental, 2u);
  const RunResult forget =
      run({vbackup_path(), "forget", "--to", dir_ / "set", "--keep-last", "1", "--json", "--dry-run"});
  EXPECT_EQ(summary_number(forget, "kept"), 2u) << forget.out;
  EXPECT_EQ(summary_number(forget, "removed"), 2u) << forget.out;
}

TEST_F(FreezeTest, WhoMayNotBeStoppedIsReadLive) {
  RunningGuest guest(tree_);
  for (const Command& more : {Command{"--consistency", "live"}, Command{"--freeze-budget", "0"}}) {
    const RunResult result = run(create(more));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("\"frozen\":[]"));
  }
}

TEST_F(FreezeTest, AGuestThatCannotBeFrozenIsAFailureOnlyWhenItMustBe) {
  RunningGuest guest(tree_);
  const Process stray({"chroot", tree_, "/bin/busybox", "sleep", "60"});
  ASSERT_TRUE(within(10s, [&] {
    std::error_code error;
    return fs::read_symlink("/proc/" + std::to_string(stray.pid()) + "/root", error) == tree_;
  }));
  const RunResult automatic = run(create());
  EXPECT_EQ(automatic.exit_code, 0) << automatic.err;
  EXPECT_THAT(automatic.err, HasSubstr("was archived live"));
  // A failed run forgets nothing, whatever the rules say.
  const RunResult must = run(create({"--consistency", "frozen", "--full", "--forget", "--keep-last", "1"}));
  EXPECT_EQ(must.exit_code, 1);
  EXPECT_EQ(summary_number(must, "forgotten"), 0u);
  EXPECT_EQ(run(create({"--consistency", "frozen", "--freeze-budget", "0"})).exit_code, 2);
  EXPECT_FALSE(is_frozen(guest.cgroup()));
  const RunResult live = run(create({"--full", "--forget", "--keep-last", "1"}));
  EXPECT_EQ(live.exit_code, 0) << live.err;
  EXPECT_EQ(summary_number(live, "forgotten"), 2u);
}

TEST_F(FreezeTest, KilledWhileTheGuestStandsStillItGoesOn) {
  RunningGuest guest(tree_);
  ASSERT_EQ(run(create()).exit_code, 0);
  int caught = 0;
  for (int i = 0; i < 12 && caught < 3; ++i) {
    must_run({"bash", "-c", "head -c 30000000 /dev/urandom > '" + tree_ + "/new'"});
    Process backup(create({"--consistency", "frozen"}));
    while (backup.running() && !is_frozen(guest.cgroup())) std::this_thread::sleep_for(1ms);
    if (backup.running()) ++caught;
    backup.signal_group(9);
    backup.wait();
    ASSERT_TRUE(within(10s, [&] { return !is_frozen(guest.cgroup()); }));
  }
  EXPECT_GT(caught, 0) << "never killed in the moment that matters";
  ASSERT_EQ(run(create()).exit_code, 0);
  EXPECT_EQ(must_run({"bash", "-c", vbackup_path() + " check -q --to '" + dir_ / "set" + "' && echo whole"}),
            "whole\n");
}

}  // namespace
}  // namespace vs::test
