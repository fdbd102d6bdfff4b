// Disks that are full, read-only or not the right ones, a second run, an impatient administrator: a clear
// message, an honest exit code, nothing lost, and whole again afterwards.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/crash/crash_host.h"
#include "tests/support/inject.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;

struct stat stat_of(const std::string& path) {
  struct stat stat {};
  EXPECT_EQ(::lstat(path.c_str(), &stat), 0) << path;
  return stat;
}

// Leaves `blocks` free blocks on the pool, in one large file.
void fill_up(const TestHost& host, uint64_t blocks) {
  ::sync();
  const int fd = ::open((host.pool() + "/filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  struct statvfs disk;
  // Metadata of the filler takes blocks too: come near in steps.
  for (uint64_t size = 0; ::fstatvfs(fd, &disk) == 0 && disk.f_bavail > blocks;) {
    const uint64_t more = std::max<uint64_t>(1, (disk.f_bavail - blocks) * 9 / 10) * disk.f_frsize;
    if (::posix_fallocate(fd, static_cast<off_t>(size), static_cast<off_t>(more)) != 0) break;
    size += more;
  }
  ::close(fd);
}

class FullDiskTest : public testing::TestWithParam<int> {};

TEST_P(FullDiskTest, IsToldAndLosesNothing) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(small_host("ext4"));
  const auto before = host.snapshots();
  fill_up(host, static_cast<uint64_t>(GetParam()));
  const auto ran = host.vunify("run");
  EXPECT_THAT(ran.exit_code, AnyOf(1, 3)) << shown(ran);
  EXPECT_THAT(ran.err, HasSubstr("No space left on device"));
  EXPECT_EQ(host.changes_since(before), "");
  fs::remove(host.pool() + "/filler");
  EXPECT_EQ(host.trouble_after_recovery(before), "");
  EXPECT_GT(host.sealed_names(), 20U);
}

INSTANTIATE_TEST_SUITE_P(BlocksLeft, FullDiskTest, testing::Values(0, 3, 12, 30),
                         testing::PrintToStringParamName());

TEST(DisasterTest, ADiskWithoutInodesIsToldAndLosesNothing) {
  VS_NEEDS_FILESYSTEM("ext4");
  HostOptions options = small_host("ext4");
  options.mkfs_options = "-N 900";
  // No store can be made; one, but not all masters (it takes 261: a directory for each first byte of a
  // digest).
  for (const int left : {0, 3, 266}) {
    TestHost host(options);
    const auto before = host.snapshots();
    fs::create_directory(host.pool() + "/filler");
    struct statvfs disk;
    for (int i = 0; ::statvfs(host.pool().c_str(), &disk) == 0 && disk.f_ffree > static_cast<uint64_t>(left);
         ++i)
      write_file(fmt::format("{}/filler/{}", host.pool(), i), "");
    const auto ran = host.vunify("run");
    EXPECT_THAT(ran.exit_code, AnyOf(1, 3)) << shown(ran);
    EXPECT_THAT(ran.err, HasSubstr("No space left on device"));
    EXPECT_EQ(host.changes_since(before), "");
    fs::remove_all(host.pool() + "/filler");
    EXPECT_EQ(host.trouble_after_recovery(before), "") << left;
    EXPECT_GT(host.sealed_names(), 20U);
  }
}

// A filesystem that is full when private copies are to be made.
TEST(DisasterTest, AFullDiskLeavesWhatCannotBeReleasedUnified) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(small_host("ext4"));
  must_do(host, "run");
  const auto before = host.snapshots();
  fill_up(host, 5);
  const auto released = host.vunify("release", {"alpha"});
  EXPECT_THAT(released.exit_code, AnyOf(1, 3)) << shown(released);
  EXPECT_THAT(released.err, HasSubstr("No space left on device"));
  EXPECT_EQ(host.changes_since(before), "");
  fs::remove(host.pool() + "/filler");
  EXPECT_EQ(host.trouble_after_recovery(before), "");
}

// ext4 gives an inode 65,000 names and no more.
TEST(DisasterTest, MoreEqualFilesThanAnInodeMayHaveNamesGetSeveralMasters) {
  VS_NEEDS_FILESYSTEM("ext4");
  constexpr unsigned kFiles = 65'100;
  HostOptions options;
  options.mebibytes = 1024;
  options.mkfs_options = "-N 140000 -b 1024";
  options.scope = "all";
  options.guests = {"alpha", "beta", "gamma"};
  const std::string bytes = tagged_bytes("many", 100);
  options.prepare = [&](const FakeGuest& guest) {
    fs::create_directories(guest / "usr/share/many");
    const timespec times[2] = {{0, UTIME_OMIT}, {1'600'000'000, 0}};
    for (unsigned i = 0; i < kFiles / 3; ++i) {
      const int fd =
          ::open((guest / fmt::format("usr/share/many/{}", i)).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
      if (fd < 0 || ::write(fd, bytes.data(), bytes.size()) < 0 || ::futimens(fd, times) != 0)
        throw std::runtime_error("cannot make the files");
      ::close(fd);
    }
  };
  TestHost host(options);
  RunOptions patient;
  patient.timeout = std::chrono::minutes(5);
  const auto ran = host.vunify("run", {"--json", "-j2"}, patient);
  ASSERT_EQ(ran.exit_code, 0) << shown(ran);
  std::map<uint64_t, unsigned> names;
  for (const auto& guest : host.guests())
    for (unsigned i = 0; i < kFiles / 3; ++i) {
      const auto stat = stat_of(guest / fmt::format("usr/share/many/{}", i));
      ++names[stat.st_ino];
      ASSERT_LE(stat.st_nlink, 65'000U);
      ASSERT_GT(stat.st_nlink, 1U);
    }
  EXPECT_GE(names.size(), 2U);
  EXPECT_LE(names.size(), 4U) << "masters should be filled before the next is made";
  EXPECT_EQ(summary_number(ran, "files_linked"), kFiles);
  EXPECT_THAT(host.store_defects(), IsEmpty());
  const auto again = host.vunify("run", {"--json"}, patient);
  EXPECT_EQ(again.exit_code, 0) << shown(again);
  EXPECT_EQ(summary_number(again, "files_linked"), 0U);
  const auto checked = host.vunify("check", {}, patient);
  EXPECT_EQ(checked.exit_code, 0) << shown(checked);
}

TEST(DisasterTest, AReadOnlyFilesystemIsNamedAndLeftAlone) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(small_host("ext4"));
  const auto before = host.snapshots();
  host.filesystem().remount("ro");
  const auto ran = host.vunify("run");
  EXPECT_EQ(ran.exit_code, 1) << shown(ran);
  EXPECT_THAT(ran.err, HasSubstr("Read-only file system"));
  EXPECT_THAT(ran.err, HasSubstr(host.pool()));
  host.filesystem().remount("rw");
  EXPECT_EQ(host.trouble_after_recovery(before), "");
  // And one that became read-only after it was unified: looking works.
  host.filesystem().remount("ro");
  for (const char* verb : {"scan", "status", "check", "report"}) {
    const auto looked = host.vunify(verb);
    EXPECT_EQ(looked.exit_code, 0) << verb << ": " << shown(looked);
  }
  EXPECT_EQ(host.vunify("release", {"alpha"}).exit_code, 1);
  host.filesystem().remount("rw");
  EXPECT_EQ(host.trouble_after_recovery(before), "");
}

TEST(DisasterTest, AStoreOnAnotherFilesystemIsRefused) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(small_host("ext4"));
  const auto before = host.snapshots();
  const std::string elsewhere = host.scratch("store");
  fs::create_directory(elsewhere);
  const auto ran = host.vunify("run", {"--store", elsewhere});
  EXPECT_THAT(ran.exit_code, AnyOf(1, 2)) << shown(ran);
  EXPECT_THAT(ran.err, HasSubstr(elsewhere));
  EXPECT_EQ(host.changes_since(before), "");
  EXPECT_TRUE(fs::is_empty(elsewhere));
}

TEST(DisasterTest, AStoreInsideAGuestIsRefused) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(small_host("ext4"));
  const auto before = host.snapshots();
  const auto ran = host.vunify("run", {"--store", host.guest("beta") / "usr/.unify"});
  EXPECT_THAT(ran.exit_code, AnyOf(1, 2)) << shown(ran);
  EXPECT_THAT(ran.err, HasSubstr("beta"));
  EXPECT_EQ(host.changes_since(before), "");
}

// A run that rests for a long time in the middle of its work, with names in staging.
class SlowRun {
 public:
  explicit SlowRun(const TestHost& host, unsigned seconds = 3)
      : process_(with_injection(host.command("run", {"-j1"}), "renameat2",
                                fmt::format("delay_exit={}000000", seconds), "3")) {
    bool staged = false;
    within(std::chrono::seconds(10), [&] {
      std::error_code error;
      staged = !fs::is_empty(host.store() + "/staging", error) && !error;
      return staged || !process_.running();
    });
    if (!staged) ADD_FAILURE() << "the run never had anything in staging: " << shown(process_.wait());
  }
  // The signal goes to vunify, not to strace.
  RunResult end_by(int number) {
    const auto children = children_of(process_.pid());
    for (const pid_t child : children) ::kill(child, number);
    EXPECT_FALSE(children.empty());
    return process_.wait();
  }

 private:
  Process process_;
};

TEST(DisasterTest, ASecondRunAtTheSameTimeLeavesWithElevenAndChangesNothing) {
  VS_NEEDS_FILESYSTEM("ext4");
  VS_STOP_IF(injection_impossible());
  TestHost host(small_host("ext4"));
  const auto before = host.snapshots();
  SlowRun first(host, 10);  // each verb waits a second for the lock
  for (const auto& [verb, more] : std::vector<std::pair<std::string, Command>>{
           {"run", {}}, {"release", {"alpha"}}, {"undo", {"last"}}, {"gc", {}}, {"recover", {}}}) {
    const auto second = host.vunify(verb, more, {.env = {}, .uid = {}, .timeout = std::chrono::seconds(5)});
    EXPECT_EQ(second.exit_code, 11) << verb << ": " << shown(second);
    EXPECT_THAT(second.err, HasSubstr("another run")) << verb;
  }
  // Looking is not locked out.
  EXPECT_EQ(host.vunify("status").exit_code, 0);
  EXPECT_EQ(first.end_by(SIGINT).exit_code, 130);
  EXPECT_EQ(host.trouble_after_recovery(before), "");
}

class SignalTest : public testing::TestWithParam<int> {};

TEST_P(SignalTest, EndsARunInOrder) {
  VS_NEEDS_FILESYSTEM("ext4");
  VS_STOP_IF(injection_impossible());
  TestHost host(small_host("ext4"));
  const auto before = host.snapshots();
  SlowRun slow(host);
  const auto ended = slow.end_by(GetParam());
  EXPECT_EQ(ended.exit_code, 130) << shown(ended);
  // It ended in order: no journal, nothing in staging, all sealed, before any recovery.
  EXPECT_THAT(host.store_defects(), IsEmpty());
  EXPECT_EQ(host.changes_since(before), "");
  EXPECT_EQ(host.trouble_after_recovery(before), "");
}

INSTANTIATE_TEST_SUITE_P(Signals, SignalTest, testing::Values(SIGINT, SIGTERM), [](const auto& tested) {
  return std::string(tested.param == SIGINT ? "INT" : "TERM");
});

TEST(DisasterTest, ALostStateDirectoryLosesNoByte) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(small_host("ext4"));
  const auto before = host.snapshots();
  must_do(host, "run");
  remove_tree(host.state());
  EXPECT_EQ(host.trouble_after_recovery(before), "");
  const auto released = host.vunify("release", {"alpha"});
  EXPECT_EQ(released.exit_code, 0) << shown(released);
  // Which names were hard links of one another stood in what was lost.
  EXPECT_EQ(host.changes_since(before, Links::any), "");
}

TEST(DisasterTest, CheckTellsAMasterWithoutSealAndOneWithOtherBytes) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(small_host("ext4"));
  must_do(host, "run");
  ASSERT_FALSE(host.masters().empty());
  const std::string master = host.masters().front(), name = fs::path(master).filename();
  set_immutable(master, false);
  auto checked = host.vunify("check");
  EXPECT_EQ(checked.exit_code, 1) << shown(checked);
  EXPECT_THAT(checked.out + checked.err, HasSubstr(name));
  const std::string bytes = read_file(master);
  const int64_t mtime = stat_of(master).st_mtim.tv_sec * 1'000'000'000LL + stat_of(master).st_mtim.tv_nsec;
  write_file(master, std::string(bytes.size(), 'X'));
  set_mtime(master, mtime);
  set_immutable(master, true);
  checked = host.vunify("check");
  EXPECT_EQ(checked.exit_code, 1) << shown(checked);
  EXPECT_THAT(checked.out + checked.err, HasSubstr(name));
}

TEST(DisasterTest, CheckTellsANameNobodyExplains) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(small_host("ext4"));
  must_do(host, "run");
  const std::string master = host.masters().front(), name = fs::path(master).filename();
  set_immutable(master, false);
  fs::create_hard_link(master, host.pool() + "/who-made-this");
  set_immutable(master, true);
  const auto checked = host.vunify("check");
  EXPECT_EQ(checked.exit_code, 1) << shown(checked);
  EXPECT_THAT(checked.out + checked.err, HasSubstr(name));
}

}  // namespace
}  // namespace vs::test
