// The harness itself must be able to fail: tools and scripts that are known to be unsafe on hostile trees are
// put in vunify's place, and what each of them breaks has to be noticed.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/support/attack.h"
#include "tests/support/chaos.h"
#include "tests/support/inject.h"
#include "tests/support/open_watch.h"
#include "tests/support/skip.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

TEST(HarnessTest, SnapshotSeesEveryKindOfChange) {
  TempDir dir;
  const FakeGuest guest("one", dir / "one", {shared_package("pkg", "usr/share/pkg", 4)});
  const std::string file = guest / "usr/share/pkg/pkg-0", other = guest / "usr/share/pkg/pkg-1";
  const auto before = snapshot_of(guest.root());
  EXPECT_EQ(difference_text(before, snapshot_of(guest.root()), Links::exact), "");

  const auto seen = [&](const std::string& what) {
    EXPECT_THAT(difference_text(before, snapshot_of(guest.root()), Links::exact), HasSubstr(what));
    remove_tree(guest.root());
    FakeGuest("one", dir / "one", {shared_package("pkg", "usr/share/pkg", 4)});
    set_mtime(guest / "etc/hostname", before.at("etc/hostname").mtime_ns);
  };
  write_file(file, tagged_bytes("package=pkg file=0", 699) + "X");
  set_mtime(file, 1'600'000'000'123'456'789);
  seen("pkg-0': other bytes");
  ::chmod(file.c_str(), 0600);
  seen("mode 644 became 600");
  set_mtime(file, 1'600'000'000'123'456'788);
  seen("mtime 1600000000123456789 became 1600000000123456788");
  fs::remove(file);
  seen("gone");
  fs::remove(file);
  fs::create_hard_link(other, file);
  seen("is with 'usr/share/pkg/pkg-0'");
  write_file(guest / "usr/share/pkg/.vunify-tmp", "");
  seen("appeared");
  fs::remove(file);
  fs::create_symlink("pkg-1", file);
  seen("expected f");
  if (::geteuid() == 0) {
    ::chown(file.c_str(), 5, 6) == 0 ? seen("owner 0:0 became 5:6") : void();
  }
}

TEST(HarnessTest, SplitHardLinksAreNoticedThoughMergedOnesMayBe) {
  TempDir dir;
  write_file(dir / "t/a", "x");
  fs::create_hard_link(dir / "t/a", dir / "t/b");
  const auto linked = snapshot_of(dir / "t");
  fs::remove(dir / "t/b");
  fs::copy_file(dir / "t/a", dir / "t/b");
  set_mtime(dir / "t/b", linked.at("b").mtime_ns);
  const auto split = snapshot_of(dir / "t");
  EXPECT_THAT(difference_text(linked, split, Links::may_merge), HasSubstr("no longer one file"));
  EXPECT_EQ(difference_text(split, linked, Links::may_merge), "");
  EXPECT_NE(difference_text(split, linked, Links::exact), "");
}

TEST(HarnessTest, ModelOfTheActorsIsTrueWhenNobodyInterferes) {
  for (const char* type : {"ext4", "xfs", "btrfs"}) {
    VS_NEEDS_FILESYSTEM(type);
    AttackHost attack(type, 7);
    attack.start();
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    const auto outcome = attack.stop();
    EXPECT_EQ(outcome.trouble, "") << type;
    EXPECT_GT(outcome.done, 1000U) << type;
  }
}

// util-linux hardlink says itself that it is not for trees of others.
TEST(HarnessTest, CatchesHardlinkMixingUpGuests) {
  VS_NEEDS_FILESYSTEM("ext4");
  VS_NEEDS_PROGRAM("hardlink", "util-linux");
  AttackHost attack("ext4", 11);
  attack.start();
  // It hangs when a fifo takes the place of a file.
  for (int i = 0; i < 8; ++i)
    run({"hardlink", attack.host().pool()}, {.env = {}, .uid = {}, .timeout = std::chrono::seconds(2)});
  const auto outcome = attack.stop();
  EXPECT_THAT(outcome.trouble, HasSubstr("reads other bytes than it wrote"));
  EXPECT_THAT(outcome.trouble, HasSubstr("other bytes: expected"));
}

// What vunify of 2002 did: equal size and mtime are taken for equal bytes, paths are resolved from "/".
void naive_unify(const TestHost& host) {
  const auto& guests = host.guests();
  for (size_t i = 1; i < guests.size(); ++i)
    for (const auto& package : guests[0].packages())
      for (const auto& file : package.files) {
        struct stat a, b;
        const std::string first = guests[0] / file.path, second = guests[i] / file.path,
                          temp = second + ".unify";
        if (::stat(first.c_str(), &a) != 0 || ::stat(second.c_str(), &b) != 0 || a.st_size != b.st_size ||
            a.st_mtim.tv_nsec != b.st_mtim.tv_nsec || a.st_ino == b.st_ino)
          continue;
        const int read = ::open(first.c_str(), O_RDONLY | O_NONBLOCK);  // the "hash"
        ::close(read);
        ::link(first.c_str(), temp.c_str()) == 0 && ::rename(temp.c_str(), second.c_str());
      }
}

TEST(HarnessTest, CatchesANaiveUnifierLeavingTheTrees) {
  VS_NEEDS_FILESYSTEM("ext4");
  VS_STOP_IF(OpenWatch::impossible());
  AttackHost attack("ext4", 13);
  attack.start();
  for (int i = 0; i < 30; ++i) {
    // In another process: the watch does not count what the test itself opens.
    const pid_t pid = ::fork();
    if (pid == 0) {
      naive_unify(attack.host());
      ::_exit(0);
    }
    ::waitpid(pid, nullptr, 0);
  }
  const auto outcome = attack.stop();
  EXPECT_THAT(outcome.trouble, HasSubstr("opened"));
  EXPECT_THAT(outcome.trouble, HasSubstr("other bytes: expected"));
}

TEST(HarnessTest, CatchesASwapThatIsKilledBetweenUnlinkAndLink) {
  VS_STOP_IF(injection_impossible());
  TempDir dir;
  write_file(dir / "t/a", "x");
  write_file(dir / "t/b", "x");
  set_mtime(dir / "t/b", 1'600'000'000'000'000'000);
  set_mtime(dir / "t/a", 1'600'000'000'000'000'000);
  const auto before = snapshot_of(dir / "t");
  const Command swap{"sh", "-c", "cd \"$1\" && rm b && exec ln a b", "sh", dir / "t"};
  EXPECT_EQ(call_ordinals(swap, "linkat", {"\"b\""}), std::vector<unsigned>{1});
  EXPECT_EQ(difference_text(before, snapshot_of(dir / "t"), Links::may_merge), "");
  EXPECT_EQ(run(with_injection(swap, "linkat", "signal=KILL", "1")).signal, SIGKILL);
  EXPECT_THAT(difference_text(before, snapshot_of(dir / "t"), Links::may_merge), HasSubstr("'b': gone"));
}

TEST(HarnessTest, AnInjectedErrorReachesTheCommand) {
  VS_STOP_IF(injection_impossible());
  TempDir dir;
  write_file(dir / "a", "x");
  const auto linked = run(with_injection({"ln", dir / "a", dir / "b"}, "linkat", "error=EMLINK", "1"));
  EXPECT_EQ(linked.exit_code, 1);
  EXPECT_THAT(linked.err, HasSubstr("Too many links"));
}

TEST(HarnessTest, SamplesKeepBeginningAndEnd) {
  std::vector<unsigned> all;
  for (unsigned i = 1; i <= 100; ++i) all.push_back(i);
  const auto some = sample(all, 10);
  EXPECT_EQ(some.size(), 10U);
  EXPECT_EQ(some.front(), 1U);
  EXPECT_EQ(some.back(), 100U);
  EXPECT_TRUE(std::is_sorted(some.begin(), some.end()));
  EXPECT_EQ(sample(all, 1000), all);
}

TEST(HarnessTest, AWatchSeesOneOpenOfAnyFileBelow) {
  VS_STOP_IF(OpenWatch::impossible());
  TempDir dir;
  write_file(dir / "t/deep/file", "x");
  OpenWatch watch;
  watch.tree(dir / "t");
  run({"stat", dir / "t/deep/file"});
  EXPECT_THAT(watch.opened(), IsEmpty());
  run({"cat", dir / "t/deep/file"});
  EXPECT_THAT(watch.opened(), Not(IsEmpty()));
  run({"ls", dir / "t/deep"});
  EXPECT_THAT(watch.opened(), Not(IsEmpty()));
}

}  // namespace
}  // namespace vs::test
