#include "unify/change/release.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <numeric>

#include "tests/support/run.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"
#include "tests/unify/fixture.h"
#include "unify/change/garbage.h"
#include "unify/change/names_of_masters.h"
#include "unify/unify.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

// usr/x and usr/y are shared by a, b and c; in a, usr/z was a hard link of usr/x.
class ReleaseTest : public unit::HostTest {
 protected:
  std::vector<std::string> names() const override { return {"a", "b", "c"}; }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().everywhere("usr/x", "same");
    host().everywhere("usr/y", "other content");
    host().link("a", "usr/x", "usr/z");
    host().unify();
    RunHistory(host().state(), host().journal_run("r1"))
        .add(
            {{"a", "usr/x", "m", 0}, {"a", "usr/z", "m", 0}, {"b", "usr/x", "m", 1}, {"c", "usr/x", "m", 2}});
    ASSERT_TRUE(host().shared("usr/x") && host().shared("usr/y"));
  }
  std::vector<NameOfMaster> find() {
    return find_names_of_masters(host().guests, host().masters, host().state(), host().context.run);
  }
  // Those of one guest.
  std::vector<NameOfMaster> of(size_t guest) {
    auto all = find();
    std::erase_if(all, [&](const NameOfMaster& name) { return name.guest != GuestNumber(guest); });
    return all;
  }
  ReleaseResult release(std::vector<NameOfMaster> which) {
    const JournalRun run = host().journal_run("r2");
    return release_names(
        {host().guests, *host().store, *host().guard, host().masters, *host().index, run, host().state()},
        std::move(which), host().context.run);
  }
  void expect_tidy() {
    EXPECT_THAT(host().staging(), IsEmpty());
    EXPECT_THAT(host().lost(), IsEmpty());
    EXPECT_FALSE(read_journal(host().state() + "/journal"));
    for (const auto& stored : host().store->list_masters())
      EXPECT_TRUE(unit::is_sealed(host().master_path(stored.name)));
  }
  std::string x(const char* guest) { return host().path(guest, "usr/x"); }
};

TEST_F(ReleaseTest, FindsEveryNameOfAMaster) {
  const auto found = find();
  EXPECT_THAT(found, SizeIs(7));
  EXPECT_TRUE(std::is_sorted(found.begin(), found.end(), [](const auto& p, const auto& q) {
    return std::tie(p.master, p.guest, p.link_group, p.path) <
           std::tie(q.master, q.guest, q.link_group, q.path);
  }));
  for (const auto& name : found)
    EXPECT_EQ(host().ino(host().guests[name.guest].name, name.path), host().masters[name.master].ino);
}

TEST_F(ReleaseTest, GivesAWritableCopyOfEqualBytesAndClassAndLeavesTheOthers) {
  const auto before = unit::lstat_of(x("b"));
  const auto result = release(of(1));
  EXPECT_EQ(result.released, 2u);
  const auto after = unit::lstat_of(x("b"));
  EXPECT_NE(after.st_ino, before.st_ino);
  EXPECT_EQ(after.st_nlink, 1u);
  EXPECT_EQ(std::tuple(after.st_mode, after.st_uid, after.st_size, after.st_mtim.tv_nsec),
            std::tuple(before.st_mode, before.st_uid, before.st_size, before.st_mtim.tv_nsec));
  unit::write_file(x("b"), "my own");
  EXPECT_EQ(unit::read_file(x("a")), "same");
  EXPECT_EQ(unit::ino_of(x("a")), unit::ino_of(x("c")));
  EXPECT_TRUE(unit::is_sealed(x("a")));
  expect_tidy();
}

// And only they are, though all are equal.
TEST_F(ReleaseTest, NamesThatWereHardLinksAreHardLinksAgain) {
  host().file("a", "usr/w", "same");  // unified with them, never a link of theirs
  host().unify();
  ASSERT_EQ(host().ino("a", "usr/w"), unit::ino_of(x("a")));
  release(of(0));
  EXPECT_EQ(unit::ino_of(x("a")), host().ino("a", "usr/z"));
  EXPECT_NE(unit::ino_of(x("a")), host().ino("a", "usr/w"));
  EXPECT_EQ(unit::lstat_of(x("a")).st_nlink, 2u);
  EXPECT_EQ(host().lost().size() + host().staging().size(), 0u);
}

// Equal files of one guest share the master like those of several. They were two files, and are again.
TEST_F(ReleaseTest, EqualFilesOfOneGuestAreFilesOfTheirOwnAgain) {
  for (const char* name : {"usr/p", "usr/q"}) host().file("a", name, "twice in one guest");
  host().unify();
  ASSERT_EQ(host().ino("a", "usr/p"), host().ino("a", "usr/q"));
  release(of(0));
  EXPECT_NE(host().ino("a", "usr/p"), host().ino("a", "usr/q"));
  for (const char* name : {"usr/p", "usr/q"})
    EXPECT_EQ(unit::lstat_of(host().path("a", name)).st_nlink, 1u) << name;
  unit::write_file(host().path("a", "usr/p"), "changed");
  EXPECT_EQ(host().content("a", "usr/q"), "twice in one guest");
  expect_tidy();
}

// What cannot be released is left with all its hard links.
TEST_F(ReleaseTest, NamesThatWereHardLinksMoveTogetherOrNotAtAll) {
  const uint64_t master = unit::ino_of(x("a"));
  auto names = of(0);
  unit::unseal(x("a"));
  std::filesystem::rename(host().path("a", "usr/z"), host().path("a", "moved"));
  unit::seal(x("a"));
  const auto result = release(names);
  EXPECT_EQ(result.released, 1u) << "usr/y";
  EXPECT_EQ(result.skipped[static_cast<size_t>(Reason::changed_meanwhile)], 2u);
  EXPECT_EQ(result.bytes_copied, std::string("other content").size());
  EXPECT_EQ(unit::ino_of(x("a")), master);
  EXPECT_EQ(host().ino("a", "moved"), master);
  expect_tidy();
}

// A read error in the walk would do the same; a mount is what a test can put there.
TEST_F(ReleaseTest, AHardLinkThatCannotBeLookedAtKeepsItsGroupTogether) {
  unit::unseal(x("a"));
  host().link("a", "usr/x", "hidden/x");
  unit::seal(x("a"));
  RunHistory(host().state(), host().journal_run("r1a"))
      .add({{"a", "usr/x", "m", 0}, {"a", "usr/z", "m", 0}, {"a", "hidden/x", "m", 0}});
  const uint64_t master = unit::ino_of(x("a"));
  const std::string hidden = host().path("a", "hidden");
  ASSERT_EQ(host().ino("a", "hidden/x"), master);
  if (::mount("none", hidden.c_str(), "tmpfs", 0, nullptr) != 0) VS_SKIP(kRoot) << "a mount needs root";
  const auto names = select_names(
      find(), [](const NameOfMaster& name) { return name.guest == GuestNumber(0) && name.path == "usr/x"; });
  const auto result = release(names);
  ASSERT_EQ(::umount(hidden.c_str()), 0);
  EXPECT_THAT(names, SizeIs(3));
  EXPECT_EQ(result.released, 0u);
  EXPECT_EQ(std::accumulate(result.skipped.begin(), result.skipped.end(), uint64_t{0}), 3u);
  for (const char* name : {"usr/x", "usr/z", "hidden/x"}) EXPECT_EQ(host().ino("a", name), master) << name;
  expect_tidy();
}

// What the guest removed since is no reason.
TEST_F(ReleaseTest, AHardLinkThatIsGoneIsNotWaitedFor) {
  RunHistory(host().state(), host().journal_run("r1a"))
      .add({{"a", "usr/x", "m", 0},
            {"a", "usr/z", "m", 0},
            {"a", "gone/x", "m", 0},
            {"a", "usr/gone", "m", 0}});
  EXPECT_EQ(release(of(0)).released, 3u);
  EXPECT_EQ(unit::ino_of(x("a")), host().ino("a", "usr/z"));
  expect_tidy();
}

TEST_F(ReleaseTest, AHardLinkComesAlongWithTheNameThatIsAskedFor) {
  const auto selected = select_names(
      find(), [&](const NameOfMaster& name) { return name.guest == GuestNumber(0) && name.path == "usr/z"; });
  ASSERT_THAT(selected, SizeIs(2));
  EXPECT_EQ(selected[0].path, "usr/x");
  EXPECT_EQ(release(selected).released, 2u);
  EXPECT_EQ(unit::ino_of(x("a")), host().ino("a", "usr/z"));
  expect_tidy();
}

// A batch holds 2048 names.
TEST_F(ReleaseTest, ALinkGroupIsNotCutByABatch) {
  std::vector<HistoryStep> steps;
  for (int i = 0; i < 2046; ++i) host().file("a", fmt::format("many/{:04}", i), "same");
  for (int i = 0; i < 6; ++i) {
    const std::string name = fmt::format("zz/{}", i);
    i == 0 ? host().file("a", name, "same") : host().link("a", "zz/0", name);
    steps.push_back({"a", name, "m", 7});
  }
  host().unify();
  RunHistory(host().state(), host().journal_run("r11")).add(steps);
  release(of(0));
  for (int i = 1; i < 6; ++i)
    EXPECT_EQ(host().ino("a", fmt::format("zz/{}", i)), host().ino("a", "zz/0")) << i;
  EXPECT_EQ(unit::lstat_of(host().path("a", "zz/0")).st_nlink, 6u);
  expect_tidy();
}

TEST_F(ReleaseTest, WhatIsNotTheMasterAnyMoreIsLeftAlone) {
  auto names = of(1);
  unit::unseal(x("b"));
  ASSERT_EQ(::unlink(x("b").c_str()), 0);
  host().file("b", "usr/x", "mine");
  unit::seal(x("a"));
  const auto result = release(names);
  EXPECT_EQ(result.released, 1u);
  EXPECT_EQ(result.skipped[static_cast<size_t>(Reason::changed_meanwhile)], 1u);
  EXPECT_EQ(unit::read_file(x("b")), "mine");
  expect_tidy();
}

TEST_F(ReleaseTest, ADirectoryThatBecameASymlinkIsNotFollowed) {
  auto names = of(1);
  std::filesystem::rename(host().path("b", "usr"), host().path("b", "moved"));
  unit::make_symlink(host().path("a", "usr"), host().path("b", "usr"));
  const uint64_t master = unit::ino_of(x("a"));
  EXPECT_EQ(release(names).released, 0u);
  EXPECT_EQ(unit::ino_of(x("a")), master) << "a was not asked for";
  expect_tidy();
}

// Two names, hard links of one another, of which the one is a program that runs.
TEST_F(ReleaseTest, WhatRunsKeepsItsPath) {
  host().everywhere("usr/p", unit::read_file("/usr/bin/sleep"), 0755);
  host().link("a", "usr/p", "usr/q");
  host().everywhere("usr/r", unit::read_file("/usr/bin/sleep") + "r", 0755);
  host().unify();
  RunHistory(host().state(), host().journal_run("r3")).add({{"a", "usr/p", "m", 9}, {"a", "usr/q", "m", 9}});
  for (const char* name : {"usr/p", "usr/r"}) {
    const std::string path = host().path("a", name);
    test::Process program(test::Command{path, "60"});
    const std::string exe = "/proc/" + std::to_string(program.pid()) + "/exe";
    ASSERT_TRUE(test::within(std::chrono::seconds(10), [&] {
      std::error_code error;
      return std::filesystem::read_symlink(exe, error) == path;
    }));
    auto names = of(0);
    std::erase_if(names, [&](const NameOfMaster& one) {
      return one.path != name && (one.path != "usr/q" || std::string(name) != "usr/p");
    });
    EXPECT_EQ(release(names).released, names.size());
    EXPECT_EQ(std::filesystem::read_symlink(exe), path + " (deleted)");
    EXPECT_FALSE(unit::is_sealed(path));
    expect_tidy();
  }
  EXPECT_EQ(host().ino("a", "usr/p"), host().ino("a", "usr/q"));
  EXPECT_NE(host().ino("b", "usr/p"), host().ino("a", "usr/q"));
}

TEST_F(ReleaseTest, NamesStayWhileSomebodyCanWriteToTheMaster) {
  unit::unseal(x("a"));
  const UniqueFd writer(::open(x("a").c_str(), O_WRONLY | O_CLOEXEC));
  unit::seal(x("a"));
  const auto result = release(of(1));
  EXPECT_EQ(result.released, 1u) << "usr/y is another master's";
  EXPECT_EQ(result.skipped[static_cast<size_t>(Reason::busy)], 1u);
  expect_tidy();
}

// Then its guest can mend it: it is its own.
TEST_F(ReleaseTest, AMasterThatIsNotWhatItWasGivesWhatItsGuestSees) {
  unit::unseal(x("a"));
  unit::write_file(x("a"), "EVIL");
  unit::set_mtime(x("a"), unit::kMtime);
  unit::seal(x("a"));
  const auto result = release(of(1));
  EXPECT_EQ(result.released, 2u);
  EXPECT_EQ(unit::read_file(x("b")), "EVIL");
  EXPECT_FALSE(unit::is_sealed(x("b")));
  EXPECT_GT(host().context.log.failed_objects(), 0u);
  expect_tidy();
}

TEST_F(ReleaseTest, ReleasedFilesCanBeUnifiedAgain) {
  release(of(1));
  host().unify();
  EXPECT_TRUE(host().shared("usr/x") && host().shared("usr/y"));
  expect_tidy();
}

TEST_F(ReleaseTest, StopsBetweenBatchesWhenCancelled) {
  host().context.cancel.request();
  EXPECT_EQ(release(of(1)).released, 0u);
  expect_tidy();
}

// More names than go in one batch.
TEST_F(ReleaseTest, TakesAnyNumberOfNames) {
  for (int i = 0; i < 2500; ++i) host().file("a", "many/" + std::to_string(i), "same");
  host().unify();
  const auto result = release(of(0));
  EXPECT_EQ(result.released, 2503u);
  EXPECT_THAT(of(0), IsEmpty());
  expect_tidy();
}

// --- A master that a guest changed in its window, and would not let be put back ----------------------------

class SpoiledMasterTest : public ReleaseTest {
 protected:
  // Owner root, set-user-ID: what one guest would like the others to have.
  void spoil(MasterNumber master, bool retired) {
    const std::string path = host().master_path(host().masters[master].name);
    unit::unseal(path);
    ASSERT_EQ(::chmod(path.c_str(), 06755), 0);
    unit::seal(path);
    if (!retired) return;
    host().masters.retire(master);
    const std::vector<MasterRecord> records = {host().masters[master]};
    host().index->put_masters(host().store->id(), records);
  }
  MasterNumber master_of_x() { return *host().masters.find(unit::ino_of(x("a"))); }
};

TEST_F(SpoiledMasterTest, IsARetiredOneOfAnotherClass) {
  EXPECT_THAT(spoiled_masters(*host().store, host().masters), IsEmpty());
  spoil(master_of_x(), false);
  EXPECT_THAT(spoiled_masters(*host().store, host().masters), IsEmpty())
      << "what an administrator did is for vunify check";
  spoil(master_of_x(), true);
  EXPECT_THAT(spoiled_masters(*host().store, host().masters), ElementsAre(master_of_x()));
  release(find());
  EXPECT_THAT(spoiled_masters(*host().store, host().masters), IsEmpty())
      << "nobody has a name of it any more";
}

// Its name in the store tells that it is another by now, and nothing tells what it was.
TEST_F(SpoiledMasterTest, IsRetiredWhereTheIndexKnowsNothingOfIt) {
  const MasterNumber master = master_of_x();
  const auto adopted_again = [&] {
    host().index->erase_masters(host().store->id(), {host().masters[master].ino});
    MasterTable table = MasterTable::load(host().store.get(), *host().index);
    const auto adopted = adopt_unknown(*host().store, table, host().context.run);
    return adopted.size() == 1 ? adopted.front() : MasterRecord();
  };
  EXPECT_FALSE(adopted_again().retired);
  spoil(master, false);
  const MasterRecord adopted = adopted_again();
  EXPECT_EQ(adopted.name, host().masters[master].name);
  EXPECT_TRUE(adopted.retired);
}

TEST_F(SpoiledMasterTest, LosesAllItsNamesWhenTheNextSessionOpens) {
  if (::unshare(CLONE_NEWNS) != 0) VS_SKIP(kRoot) << "a private view of the mount needs root";
  spoil(master_of_x(), true);
  ASSERT_EQ(unit::lstat_of(x("b")).st_mode & 07777, 06755u);
  Options options;
  for (const char* guest : {"a", "b", "c"})
    options.trees.push_back(std::string(guest) + "=" + host().path(guest));
  options.state = host().state();
  options.store = host().store_path();
  options.guard = "immutable";
  options.scope = "all";
  host().index.reset();  // one environment a process
  const LockedPool pool = open_whole_pool(options, host().context.run);
  for (const char* guest : {"a", "b", "c"}) {
    EXPECT_EQ(unit::lstat_of(x(guest)).st_mode & 07777, 0644u) << guest;
    EXPECT_EQ(unit::read_file(x(guest)), "same");
  }
  EXPECT_NE(unit::ino_of(x("a")), unit::ino_of(x("b")));
  EXPECT_EQ(unit::ino_of(x("a")), host().ino("a", "usr/z"));
  EXPECT_TRUE(host().shared("usr/y")) << "the other master is as it was";
  EXPECT_GT(host().context.log.failed_objects(), 0u) << "and it is told";
  expect_tidy();
}

// --- gc ----------------------------------------------------------------------------------------------------

class GcTest : public ReleaseTest {
 protected:
  GcResult collect(bool dry_run) {
    const JournalRun run = host().journal_run();
    if (dry_run) return find_garbage(*host().store, host().masters, host().context.run);
    return collect_garbage({*host().store, *host().guard, host().masters, *host().index, run, host().state()},
                           host().context.run);
  }
};

TEST_F(GcTest, KeepsMastersThatAGuestUses) {
  release(of(0));
  release(of(1));
  EXPECT_EQ(collect(false).removed, 0u) << "c has names of both";
  EXPECT_THAT(host().store->list_masters(), SizeIs(2));
}

TEST_F(GcTest, DropsMastersThatNoGuestUses) {
  for (const size_t guest : {0, 1, 2}) release(of(guest));
  const auto would = collect(true);
  EXPECT_EQ(would.removed, 2u);
  EXPECT_THAT(host().store->list_masters(), SizeIs(2)) << "a dry run drops nothing";
  const auto result = collect(false);
  EXPECT_EQ(result.removed, 2u);
  EXPECT_EQ(result.bytes_freed, would.bytes_freed);
  EXPECT_GT(result.bytes_freed, 0u);
  EXPECT_THAT(host().store->list_masters(), IsEmpty());
  EXPECT_THAT(host().index->masters(host().store->id()), IsEmpty());
}

}  // namespace
}  // namespace vs::unify
