// On filesystems of each kind: everything is given back, as of every time; full disks; unified guests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>

#include "tests/backup/backup_host.h"
#include "tests/support/inject.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class BackupOn : public testing::TestWithParam<const char*> {};

TEST_P(BackupOn, GivesBackEverythingAsOfEveryTime) {
  VS_NEEDS_FILESYSTEM(GetParam());
  LoopFilesystem filesystem(GetParam(), 600);
  BackupHost host(filesystem.path() + "/trees");
  host.make_guests();
  std::vector<std::pair<std::string, Everything>> times;
  for (int round = 0; round <= 3; ++round) {
    if (round > 0) host.change(round);
    const RunResult result = host.create();
    ASSERT_EQ(result.exit_code, 0) << result.err;
    times.emplace_back(host.last_stamp(), everything_of(host.trees()));
    BackupHost::let_clock_pass();
  }
  for (size_t i = 0; i < times.size(); ++i)
    EXPECT_EQ(
        difference(times[i].second, everything_of(host.restored("r" + std::to_string(i), times[i].first))),
        "")
        << "as of round " << i;
  const RunResult check =
      host.vbackup("check", {"--rehearse", "--scratch", filesystem.path() + "/rehearsal"});
  EXPECT_EQ(check.exit_code, 0) << check.out << check.err;
  EXPECT_FALSE(fs::exists(filesystem.path() + "/rehearsal"));
}

INSTANTIATE_TEST_SUITE_P(Filesystems, BackupOn, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& one) { return std::string(one.param); });

// ext4 holds those up to 2446, btrfs any: years 1, 1600, 1815 are the last three.
TEST_P(BackupOn, GivesBackTimesOfAllCenturies) {
  VS_NEEDS_FILESYSTEM(GetParam());
  LoopFilesystem filesystem(GetParam(), 600);
  BackupHost host(filesystem.path() + "/trees");
  must_run({"bash", "-euc",
            "mkdir -p '" + host.tree("alpha") + "/dir' '" + host.tree("beta") + "'; cd '" +
                host.tree("alpha") +
                "'; touch -d '2400-06-01 12:00:00.25 UTC' f2400; touch -d '1905-03-01 01:02:03.25 "
                "UTC' f1905; touch -d '2262-04-12 UTC' f2262; touch -d '2239-05-10 UTC' f2239; ln -s "
                "f link; touch -h -d '2390-01-01 UTC' link; touch -d '2300-01-01 UTC' dir"});
  if (std::string(GetParam()) == "btrfs")
    must_run({"bash", "-euc",
              "cd '" + host.tree("alpha") +
                  "'; touch -d '0001-01-01 UTC' f1; touch -d '1600-03-01 01:02:03.75 UTC' f1600; "
                  "touch -d '1815-11-12 UTC' f1815; touch -d @2524608000000 far"});
  ASSERT_EQ(host.create().exit_code, 0);
  if (std::string(GetParam()) == "btrfs") {
    // Farther than what a backup holds: named, not wrong without a word.
    const RunResult back = host.vbackup("restore", {"--target", filesystem.path() + "/far", "alpha:far"});
    EXPECT_EQ(back.exit_code, 3);
    EXPECT_THAT(back.err, HasSubstr("alpha/far: its time was farther away"));
    std::filesystem::remove(host.tree("alpha") + "/far");
    ASSERT_EQ(host.create().exit_code, 0);
  }
  const auto restored = host.restored("r");
  EXPECT_EQ(difference(everything_of(host.trees()), everything_of(restored)), "");
  EXPECT_THAT(host.vbackup("show", {"alpha:f2400"}).out, HasSubstr("24000601T120000Z"));
}

TEST(BackupSnapshot, OnBtrfsASnapshotIsReadAndTheIndexKnowsItsInodes) {
  VS_NEEDS_FILESYSTEM("btrfs");
  LoopFilesystem filesystem("btrfs", 600);
  const std::string trees = filesystem.path() + "/trees";
  must_run({"bash", "-c",
            "mkdir '" + trees + "' && btrfs -q subvolume create '" + trees +
                "/alpha' && btrfs -q subvolume create '" + trees + "/beta'"});
  write_file(trees + "/alpha/file", "alpha's");
  write_file(trees + "/beta/file", "beta's");
  BackupHost host(trees);
  BackupHost::let_clock_pass();
  const RunResult first = host.create({"--json", "--consistency", "snapshot"});
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("\"consistency\":\"snapshot\""));
  EXPECT_EQ(summary_number(first, "files_read"), 2u);
  const RunResult again = host.create({"--json", "--verify-sample", "0"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(summary_number(again, "files_read"), 0u) << again.out;
  EXPECT_EQ(std::distance(fs::directory_iterator(trees), fs::directory_iterator()), 2)
      << "a snapshot was left behind";
  EXPECT_EQ(difference(everything_of(host.trees()), everything_of(host.restored("r"))), "");
}

TEST(BackupFullDisk, NothingHalfAppearsAndTheRerunIsWhole) {
  VS_NEEDS_FILESYSTEM("ext4");
  LoopFilesystem disk("ext4", 32);
  BackupHost host;
  host.make_guests();
  const std::string set = disk.path() + "/set";
  Command line{vbackup_path(),        "create",     "--init", "--to", set, "--state",
               host.scratch("state"), "--progress", "never"};
  for (const auto& [name, path] : host.trees()) line.insert(line.end(), {"--tree", name + "=" + path});
  must_run({"bash", "-c", "head -c 20000000 /dev/zero > '" + disk.path() + "/ballast'"});
  const RunResult full = run(line);
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_THAT(full.err, HasSubstr("No space left"));
  for (const auto& entry : fs::directory_iterator(set))
    EXPECT_THAT(entry.path().filename().string(), testing::Not(HasSubstr(".part")));
  fs::remove(disk.path() + "/ballast");
  const RunResult again = run(line);
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(run({vbackup_path(), "check", "--to", set}).exit_code, 0);
}

TEST(BackupFullDisk, BelowTheStateNoArchiveIsLost) {
  VS_NEEDS_FILESYSTEM("ext4");
  BackupHost host;
  host.make_guests();
  must_run(
      {"bash", "-euc", "cd \"$1\"; for i in $(seq 22000); do : > many$i; done", "sh", host.tree("alpha")});
  // So small that the index has no place, and so that only its beginning has.
  for (const char* size : {"64k", "1m"}) {
    const std::string state = host.scratch("state"), set = host.scratch("set-" + std::string(size));
    fs::create_directories(state);
    must_run({"mount", "-t", "tmpfs", "-o", "mode=0700,size=" + std::string(size), "none", state});
    Command line{vbackup_path(), "create", "--init", "--to", set, "--state", state, "--progress", "never"};
    for (const auto& [name, path] : host.trees()) line.insert(line.end(), {"--tree", name + "=" + path});
    const RunResult result = run(line), again = run(line);
    must_run({"umount", state});
    for (const RunResult& one : {result, again}) {
      EXPECT_EQ(one.exit_code, 3) << shown(one);
      EXPECT_THAT(one.err, HasSubstr("No space left on device"));
      EXPECT_THAT(one.err, HasSubstr("not remembered"));
    }
    EXPECT_EQ(run({vbackup_path(), "check", "--to", set}).exit_code, 0);
    EXPECT_THAT(run({vbackup_path(), "list", "--to", set}).out,
                testing::AllOf(HasSubstr("alpha"), HasSubstr("beta")));
  }
}

TEST(BackupFullDisk, ARestoreSaysSoAndStops) {
  VS_NEEDS_FILESYSTEM("ext4");
  LoopFilesystem disk("ext4", 32);
  must_run({"bash", "-c",
            "cd '" + disk.path() +
                "' && fallocate -l $(($(df --output=avail -B1 . | tail -n 1) - 5000000)) ballast"});
  BackupHost host;
  host.make_guests();
  ASSERT_EQ(host.create().exit_code, 0);
  const RunResult result = host.vbackup("restore", {"--target", disk.path() + "/r", "--all"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("No space left"));
}

HostOptions unified_host() {
  HostOptions options;
  options.guests = {"alpha", "beta", "gamma"};
  options.packages = {shared_package("tools", "usr/bin", 40), shared_package("docs", "usr/share", 20)};
  return options;
}

Command over_guests(const TestHost& host, const std::string& verb, const Command& more, size_t guests = 99) {
  Command line{vbackup_path(),         verb,         "--to", host.scratch("set"), "--state",
               host.scratch("bstate"), "--progress", "never"};
  for (size_t i = 0; i < host.guests().size() && i < guests; ++i)
    line.insert(line.end(), {"--tree", host.guests()[i].name() + "=" + host.guests()[i].root()});
  if (verb == "create") line.push_back("--init");
  line.insert(line.end(), more.begin(), more.end());
  return line;
}

TEST(BackupOfUnifiedGuests, AfterARunOfVunifyWhichOnlyLinkedNothingIsReadAgain) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(unified_host());
  // alpha and beta are unified; gamma, which has the same files, is not yet.
  Command first{vunify_path(), "run", "--state", host.state(), "--store", host.store()};
  for (const char* name : {"alpha", "beta"})
    first.insert(first.end(), {"--tree", std::string(name) + "=" + host.guest(name).root()});
  ASSERT_EQ(run(first).exit_code, 0);
  BackupHost::let_clock_pass();
  ASSERT_EQ(run(over_guests(host, "create", {})).exit_code, 0);
  // This run links gamma's names to the masters: their ctime and link count move, gamma's own files go.
  const RunResult linked = host.vunify("run", {"--json"});
  ASSERT_GT(summary_number(linked, "files_linked"), 40u) << linked.out;
  const RunResult again = run(over_guests(host, "create", {"--json", "--verify-sample", "0"}));
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(summary_number(again, "files_read"), 0u) << again.out;
  EXPECT_FALSE(fs::exists(host.scratch("set") + "/pool-2.tar.zst"));
  std::map<std::string, std::string> trees, restored;
  for (const auto& guest : host.guests()) {
    trees[guest.name()] = guest.root();
    restored[guest.name()] = host.pool() + "/restored/" + guest.name();
  }
  const RunResult back = run({vbackup_path(), "restore", "--to", host.scratch("set"), "--target",
                              host.pool() + "/restored", "--all"});
  ASSERT_EQ(back.exit_code, 0) << back.err;
  EXPECT_EQ(difference(everything_of(trees), everything_of(restored)), "");
}

TEST(BackupOfUnifiedGuests, LinkLiveCostsNoMoreDiskAndLeavesEverythingSealed) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(unified_host());
  ASSERT_EQ(host.vunify("run").exit_code, 0);
  BackupHost::let_clock_pass();
  ASSERT_EQ(run(over_guests(host, "create", {})).exit_code, 0);
  const auto before = host.snapshots();
  const Command own{
      vbackup_path(), "restore", "--to", host.scratch("set"), "--target", host.pool() + "/restored",
      "--json",       "beta"};
  Command restore = own;
  restore.push_back("--link-live");
  // Killed when all is written: sealed names of live masters stay behind, which the same command takes over
  // and another must not.
  VS_STOP_IF(injection_impossible());
  EXPECT_EQ(run(with_injection(restore, "syncfs", "signal=KILL", "1")).signal, SIGKILL);
  EXPECT_TRUE(fs::exists(host.pool() + "/restored/.vbackup-restore/beta/usr/bin/tools-1"));
  const RunResult other = run(own);
  EXPECT_EQ(other.exit_code, 2) << other.err;
  EXPECT_THAT(other.err, HasSubstr("sealed names of masters"));
  const RunResult back = run(restore);
  ASSERT_EQ(back.exit_code, 0) << back.err;
  EXPECT_FALSE(fs::exists(host.pool() + "/restored/.vbackup-restore"));
  EXPECT_GE(summary_number(back, "linked_live"), 55u) << back.out;
  struct stat live, restored;
  ASSERT_EQ(::stat((host.guest("beta").root() + "/usr/bin/tools-1").c_str(), &live), 0);
  ASSERT_EQ(::stat((host.pool() + "/restored/beta/usr/bin/tools-1").c_str(), &restored), 0);
  EXPECT_EQ(live.st_ino, restored.st_ino);
  EXPECT_EQ(host.store_defects(), std::vector<std::string>{});
  EXPECT_EQ(host.changes_since(before), "");
  EXPECT_EQ(difference_text(snapshot_of(host.guest("beta").root()),
                            snapshot_of(host.pool() + "/restored/beta"), Links::any),
            "");
  // vunify, told of the new tree, counts its names as its own.
  const RunResult check = host.vunify("check", {"--tree", "restored=" + host.pool() + "/restored/beta"});
  EXPECT_EQ(check.exit_code, 0) << check.out << check.err;
}

}  // namespace
}  // namespace vs::test
