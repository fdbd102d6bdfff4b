// Runs twice, the second time with VS_NO_OPENAT2=1. What a guest does between the steps, one thing a test;
// what it does in the midst of them is in exchange_test.cc and in tests/root.
#include "unify/change/linker.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <map>
#include <thread>

#include "tests/support/run.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"
#include "tests/unify/fixture.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using Verdict = UnsealedWindow::Verdict;

// "same" in usr/x of a, b and c, planned.
class LinkerTest : public unit::HostTest {
 protected:
  std::vector<std::string> names() const override { return {"a", "b", "c"}; }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().everywhere("usr/x", "same");
  }
  // A guest holds a descriptor that another process would: leases know of open files, not of processes.
  static UniqueFd open_for_writing(const std::string& path, int more = 0) {
    return UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC | more));
  }

  void plan() {
    host().plan();
    ASSERT_THAT(host().link_plan.groups, SizeIs(1));
    linker_.reset(new Linker(host().linker()));
  }
  GroupWork prepared() { return host().work(GroupNumber(0), *linker_); }
  void link(GroupWork& work) { linker_->link(work); }
  void settle(GroupWork& work) { linker_->settle(work); }
  // All three steps.
  GroupWork run() {
    plan();
    GroupWork work = prepared();
    link(work);
    settle(work);
    return work;
  }
  // "b changed_meanwhile", for each refused duplicate.
  std::vector<std::string> refused(const GroupWork& work) {
    std::vector<std::string> all;
    for (const auto& [duplicate, reason] : work.refused) {
      const FileRow& row =
          host().files.table.rows()[host().link_plan.names[host().link_plan.duplicates[duplicate].begin]];
      all.push_back(host().guests[host().files.table.guest(row)].name + " " +
                    std::string(reason_name(reason)));
    }
    return all;
  }
  std::string x(const std::string& guest) { return host().path(guest, "usr/x"); }
  // Other content in usr/x of all guests; masters of before stay, sealed.
  void start_over(const std::string& content) {
    for (const char* guest : {"a", "b", "c"}) {
      if (!unit::exists(x(guest))) continue;
      if (S_ISREG(unit::lstat_of(x(guest)).st_mode)) unit::unseal(x(guest));
      std::filesystem::remove_all(x(guest));
    }
    for (const auto& stored : host().store->list_masters()) unit::seal(host().master_path(stored.name));
    host().everywhere("usr/x", content);
  }
  // More files of guest b that are what its usr/x is.
  void copy_in_b(int count) {
    const timespec mtime = unit::lstat_of(x("b")).st_mtim;
    for (int i = 0; i < count; ++i) {
      const std::string copy = host().path("b", "usr/copy" + std::to_string(i));
      std::filesystem::copy_file(x("b"), copy);
      unit::set_mtime(copy, mtime.tv_sec * 1'000'000'000LL + mtime.tv_nsec);
    }
  }
  // A plan that says a, b and c were equal to `content`.
  void plan_untruly(const std::string& content) {
    host().scan();
    host().find_candidates();
    GroupVerdict lie;
    lie.contents.push_back(
        {{CandidateNumber(0), CandidateNumber(1), CandidateNumber(2)}, {}, xxh128(content), 0, std::nullopt});
    std::vector<GroupVerdict> verdicts;
    verdicts.push_back(std::move(lie));
    host().link_plan = make_plan(host().verify_input(), std::move(verdicts), false, nullptr).plan;
    linker_.reset(new Linker(host().linker()));
  }
  uint64_t master_ino() { return host().masters.empty() ? 0 : host().masters.records().back().ino; }
  bool linked(const std::string& guest) {
    return unit::ino_of(x(guest)) == master_ino() && unit::is_sealed(x(guest));
  }
  // Nothing on its way, nothing lost, every master sealed.
  void expect_tidy() {
    EXPECT_THAT(host().staging(), IsEmpty());
    EXPECT_THAT(host().lost(), IsEmpty());
    for (const auto& stored : host().store->list_masters())
      EXPECT_TRUE(unit::is_sealed(host().master_path(stored.name))) << stored.name;
  }
  std::unique_ptr<Linker> linker_;
};

TEST_F(LinkerTest, WhoIsStoppedMakesNoMasterAndLinksNothing) {
  plan();
  Cancel cancel;
  PlannedFiles files = host().planned();
  files.cancel = &cancel;
  Linker linker(*host().store, *host().guard, files, host().masters, nullptr, false, host().counts,
                host().context.log);
  GroupWork work = host().work(GroupNumber(0), linker);
  cancel.request();
  linker.link(work);
  linker.settle(work);
  EXPECT_THAT(refused(work), ElementsAre("a out_of_time", "b out_of_time", "c out_of_time"));
  GroupWork next;
  next.end = DuplicateNumber(3);
  linker.prepare(next);
  EXPECT_FALSE(next.ready);
  EXPECT_THAT(host().store->list_masters(), SizeIs(1));
  expect_tidy();
}

// --- What is left alone ------------------------------------------------------------------------------------

TEST_F(LinkerTest, AGuestWhosePackageManagerBeganIsLeftAlone) {
  plan();
  GroupWork work = prepared();
  linker_->leave_alone([&](GuestNumber guest) { return host().guests[guest].name == "b"; });
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b package_work"));
  EXPECT_TRUE(linked("a") && linked("c") && !linked("b"));
  expect_tidy();
}

// --- What somebody has open --------------------------------------------------------------------------------

TEST_F(LinkerTest, WhatSomebodyHasOpenIsLeftForLater) {
  plan();
  const uint64_t before = unit::ino_of(x("b"));
  const UniqueFd reader(::open(x("b").c_str(), O_RDONLY | O_CLOEXEC));
  GroupWork work = prepared();
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), IsEmpty());
  ASSERT_THAT(work.in_use, SizeIs(1));
  EXPECT_TRUE(linked("a") && linked("c"));
  EXPECT_EQ(unit::ino_of(x("b")), before);
  expect_tidy();
}

// Begun between the look and the exchange: what is open has its own name again.
TEST_F(LinkerTest, WhatSomebodyBeginsToUseIsGivenBack) {
  plan();
  GroupWork work = prepared();
  linker_->compare(work);
  const UniqueFd reader(::open(x("b").c_str(), O_RDONLY | O_CLOEXEC));
  linker_->exchange(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b running"));
  EXPECT_TRUE(linked("a") && linked("c") && !linked("b"));
  EXPECT_EQ(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(reader.get())), x("b"));
  expect_tidy();
}

TEST_F(LinkerTest, NoMasterIsMadeOfWhatIsAllInUse) {
  plan();
  std::vector<UniqueFd> readers;
  for (const char* guest : {"a", "b", "c"})
    readers.emplace_back(::open(x(guest).c_str(), O_RDONLY | O_CLOEXEC));
  GroupWork work;
  work.end = DuplicateNumber(3);
  linker_->prepare(work);
  EXPECT_FALSE(work.ready);
  EXPECT_THAT(work.in_use, SizeIs(3));
  EXPECT_THAT(host().store->list_masters(), IsEmpty());
}

// The program of b runs, b stands still: after it the program has its own path, as after an upgrade. So has
// the mapping of c's, and the guests get their inodes back in the same way.
TEST_F(LinkerTest, WhatRunsKeepsItsPathWhereTheGuestStandsStill) {
  for (const bool spoiled : {false, true}) {
    SCOPED_TRACE(spoiled);
    start_over(unit::read_file("/usr/bin/sleep") + (spoiled ? "2" : "1"));
    for (const char* guest : {"a", "b", "c"})
      std::filesystem::permissions(x(guest), std::filesystem::perms(0755));
    const uint64_t before = unit::ino_of(x("b"));
    test::Process program(test::Command{x("b"), "60"});
    const std::string exe = "/proc/" + std::to_string(program.pid()) + "/exe";
    ASSERT_TRUE(test::within(std::chrono::seconds(10), [&] {
      std::error_code error;
      return std::filesystem::read_symlink(exe, error) == x("b");
    }));
    plan();
    GroupWork work = prepared();
    work.processes = Processes::standing_still;
    link(work);
    if (spoiled) unit::set_mtime(host().store_path() + "/staging/" + work.swapped[1].names[0].staged, 1);
    settle(work);
    EXPECT_EQ(std::filesystem::read_symlink(exe), x("b") + " (deleted)");
    EXPECT_EQ(linked("b"), !spoiled);
    EXPECT_EQ(unit::ino_of(x("b")) == before, spoiled);
    EXPECT_TRUE(linked("a") && linked("c"));
    expect_tidy();
  }
  EXPECT_GT(host().counts.bytes_held, 0u) << "what the program still holds is not freed";
}

TEST_F(LinkerTest, WhereTheGuestStandsStillNothingElseIsRenamedOver) {
  plan();
  GroupWork work = prepared();
  work.processes = Processes::standing_still;
  linker_->compare(work);
  unit::write_file(x("b") + ".new", "newer");
  ASSERT_EQ(::rename((x("b") + ".new").c_str(), x("b").c_str()), 0);
  linker_->exchange(work);
  settle(work);
  EXPECT_EQ(unit::read_file(x("b")), "newer");
  EXPECT_TRUE(linked("a") && linked("c"));
  expect_tidy();
}

TEST_F(LinkerTest, MakesEqualFilesOneSealedInodeOfTheirClass) {
  const auto before = unit::lstat_of(x("a"));
  const GroupWork work = run();
  EXPECT_THAT(refused(work), IsEmpty());
  EXPECT_TRUE(linked("a") && linked("b") && linked("c"));
  expect_tidy();
  const auto after = unit::lstat_of(x("b"));
  EXPECT_EQ(unit::read_file(x("b")), "same");
  EXPECT_EQ(after.st_nlink, 4u) << "three names and the store's";
  EXPECT_EQ(std::tuple(after.st_mode, after.st_uid, after.st_gid, after.st_size),
            std::tuple(before.st_mode, before.st_uid, before.st_gid, before.st_size));
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  EXPECT_EQ(host().counts.files_linked, 3u);
  EXPECT_EQ(host().counts.bytes_freed, 3 * static_cast<uint64_t>(before.st_blocks) * 512);
}

// What this thread has read so far, by any call.
uint64_t bytes_read() {
  const std::string io = unit::read_file("/proc/thread-self/io");
  return std::stoull(io.substr(io.find("rchar: ") + 7));
}

// A window is as long as its exchanges: while a master is unsealed nothing of a guest is read, and it belongs
// to one guest, which cannot stretch it by many names.
TEST_F(LinkerTest, AWindowHasFewNamesOfOneGuestAndReadsNothing) {
  start_over(std::string(64 << 10, 's'));
  copy_in_b(40);
  plan();
  GroupWork work = prepared();
  const uint64_t asked = bytes_read(), read_to_ask = bytes_read() - asked;
  uint64_t begin = 0;
  std::map<std::string, size_t> before;
  const auto linked_names = [&] {
    std::map<std::string, size_t> names;
    for (const char* guest : {"a", "b", "c"})
      for (const auto& entry : std::filesystem::directory_iterator(host().path(guest, "usr")))
        names[guest] += unit::ino_of(entry.path()) == work.master.record.ino ? 1 : 0;
    return names;
  };
  size_t windows = 0;
  host().guard->after_unseal = [&](int) {
    ++windows;
    before = linked_names();
    begin = bytes_read();
  };
  host().guard->before_seal = [&](int) {
    EXPECT_LT(bytes_read() - begin, read_to_ask + 64);  // the number grows a digit now and then
    size_t guests = 0;
    for (const auto& [guest, names] : linked_names()) {
      guests += names != before[guest] ? 1 : 0;
      EXPECT_LE(names - before[guest], 32u);
    }
    EXPECT_LE(guests, 1u);
  };
  link(work);
  host().guard->after_unseal = {};
  host().guard->before_seal = {};
  settle(work);
  EXPECT_GE(windows, 4u) << "one for a, two or more for b, one for c";
  EXPECT_THAT(refused(work), IsEmpty());
  EXPECT_EQ(host().counts.files_linked, 43u);
  expect_tidy();
}

// With 40 copies that are not in memory, which a guest made to keep the window open.
TEST_F(LinkerTest, NoGuestChoosesHowLongAWindowIs) {
  start_over(std::string(8 << 20, 's'));
  copy_in_b(40);
  plan();
  GroupWork work = prepared();
  for (const auto& entry : std::filesystem::directory_iterator(host().path("b", "usr"))) {
    const UniqueFd fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(::fdatasync(fd.get()), 0);
    ASSERT_EQ(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  }
  const auto begin = std::chrono::steady_clock::now();
  link(work);
  const std::chrono::nanoseconds all = std::chrono::steady_clock::now() - begin;
  settle(work);
  EXPECT_EQ(host().counts.files_linked, 43u);
  // Of the time in which 300 MB are read, whatever else runs on the machine.
  EXPECT_LT(host().counts.longest_ns, static_cast<uint64_t>(all.count()) / 4);
  RecordProperty("longest_us", std::to_string(host().counts.longest_ns / 1000));
}

// No guest ever had a descriptor of it.
TEST_F(LinkerTest, TheMasterIsAnInodeThatNoGuestEverHad) {
  const uint64_t a = unit::ino_of(x("a")), b = unit::ino_of(x("b")), c = unit::ino_of(x("c"));
  run();
  EXPECT_THAT((std::vector<uint64_t>{a, b, c}), testing::Not(testing::Contains(master_ino())));
}

TEST_F(LinkerTest, DescriptorsThatReadersHaveGoOnReadingTheirOwn) {
  const UniqueFd reader(::open(x("a").c_str(), O_RDONLY | O_CLOEXEC));
  plan();
  GroupWork work = prepared();
  work.processes = Processes::none;
  link(work);
  settle(work);
  char buffer[4];
  EXPECT_EQ(::pread(reader.get(), buffer, 4, 0), 4);
  EXPECT_TRUE(linked("a"));
}

TEST_F(LinkerTest, CarriesAttributesAndAccessListsOver) {
  for (const char* guest : {"a", "b", "c"})
    if (::setxattr(x(guest).c_str(), "user.note", "mine", 4, 0) != 0)
      VS_SKIP(kFilesystem) << "no user attributes here";
  run();
  EXPECT_TRUE(linked("a") && linked("c"));
  char value[4];
  EXPECT_EQ(::getxattr(x("c").c_str(), "user.note", value, 4), 4);
}

TEST_F(LinkerTest, ANewGuestGetsTheMasterThatIsThere) {
  host().everywhere("usr/x", "same");
  ASSERT_EQ(::unlink(x("c").c_str()), 0);
  run();
  host().file("c", "usr/x", "same");
  const GroupWork work = run();
  EXPECT_FALSE(work.master.fresh);
  EXPECT_EQ(host().masters.size(), 1u);
  EXPECT_TRUE(linked("a") && linked("b") && linked("c"));
  expect_tidy();
}

TEST_F(LinkerTest, LinksNothingTwice) {
  run();
  host().plan();
  EXPECT_THAT(host().link_plan.groups, IsEmpty());
}

// --- Changed between the plan and the link -----------------------------------------------------------------

TEST_F(LinkerTest, LeavesAFileThatChangedAlone) {
  plan();
  host().file("b", "usr/x", "SAME");  // as long, as old
  GroupWork work = prepared();
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b changed_meanwhile"));
  EXPECT_EQ(unit::read_file(x("b")), "SAME");
  EXPECT_FALSE(unit::is_sealed(x("b")));
  EXPECT_TRUE(linked("a") && linked("c"));
  expect_tidy();
}

TEST_F(LinkerTest, LeavesAFileWhoseClassChangedAlone) {
  plan();
  ASSERT_EQ(::chmod(x("b").c_str(), 0600), 0);
  GroupWork work = prepared();
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b changed_meanwhile"));
  EXPECT_EQ(unit::lstat_of(x("b")).st_mode & 07777, 0600u);
  expect_tidy();
}

// The one whose copy would be the master.
TEST_F(LinkerTest, TakesTheNextAsModelWhenTheFirstChanged) {
  plan();
  host().file("a", "usr/x", "SAME");
  GroupWork work = prepared();
  ASSERT_TRUE(work.ready);
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("a changed_meanwhile"));
  EXPECT_TRUE(linked("b") && linked("c"));
  EXPECT_EQ(unit::read_file(x("b")), "same");
  expect_tidy();
}

TEST_F(LinkerTest, MakesNoMasterWhenAllChanged) {
  plan();
  host().everywhere("usr/x", "SAME");
  GroupWork work = prepared();
  EXPECT_FALSE(work.ready);
  link(work);
  settle(work);
  EXPECT_THAT(refused(work),
              ElementsAre("a changed_meanwhile", "b changed_meanwhile", "c changed_meanwhile"));
  EXPECT_THAT(host().store->list_masters(), IsEmpty());
  EXPECT_EQ(host().context.log.failed_objects(), 0u) << "a guest that lives is no trouble";
}

TEST_F(LinkerTest, OpensNothingThatTookTheFilesPlace) {
  const std::function<void()> kinds[] = {[&] { unit::make_fifo(x("b")); },
                                         [&] { unit::make_symlink(x("a"), x("b")); },
                                         [&] { unit::make_dirs(x("b")); }};
  int round = 0;
  for (const auto& make : kinds) {
    start_over("same" + std::to_string(round++));
    plan();
    ASSERT_EQ(::unlink(x("b").c_str()), 0);
    make();
    const auto before = unit::lstat_of(x("b"));
    GroupWork work = prepared();
    link(work);
    settle(work);
    EXPECT_THAT(refused(work), ElementsAre("b changed_meanwhile")) << round;
    EXPECT_EQ(unit::lstat_of(x("b")).st_ino, before.st_ino) << round;
    EXPECT_TRUE(linked("a") && linked("c")) << round;
    expect_tidy();
  }
}

TEST_F(LinkerTest, FollowsNoDirectoryThatBecameASymlink) {
  plan();
  unit::write_file(host().dir() + "/outside/x", "same");
  unit::set_mtime(host().dir() + "/outside/x", unit::kMtime);
  std::filesystem::rename(host().path("b", "usr"), host().path("b", "was"));
  unit::make_symlink(host().dir() + "/outside", host().path("b", "usr"));
  const uint64_t outside = unit::ino_of(host().dir() + "/outside/x");
  GroupWork work = prepared();
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b changed_meanwhile"));
  EXPECT_EQ(unit::ino_of(host().dir() + "/outside/x"), outside);
  expect_tidy();
}

// The plan says that they are equal; bytes decide.
TEST_F(LinkerTest, BelievesBytesNotThePlan) {
  host().file("b", "usr/x", "SAME");
  plan_untruly("same");
  GroupWork work = prepared();
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b changed_meanwhile"));
  EXPECT_EQ(unit::read_file(x("b")), "SAME");
  EXPECT_TRUE(linked("a") && linked("c"));
}

// --- Writers -----------------------------------------------------------------------------------------------

TEST_F(LinkerTest, LeavesAFileThatSomebodyHasOpenForWritingAlone) {
  plan();
  const UniqueFd writer = open_for_writing(x("b"));
  GroupWork work = prepared();
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b busy"));
  ASSERT_EQ(::pwrite(writer.get(), "MINE", 4, 0), 4);
  EXPECT_EQ(unit::read_file(x("b")), "MINE") << "the writer writes to the file its guest sees";
  EXPECT_EQ(unit::read_file(x("a")), "same");
  expect_tidy();
}

TEST_F(LinkerTest, LeavesAFileThatIsMappedWritableAlone) {
  plan();
  UniqueFd writer = open_for_writing(x("b"));
  char* mapping = static_cast<char*>(::mmap(nullptr, 4, PROT_READ | PROT_WRITE, MAP_SHARED, writer.get(), 0));
  writer.reset();
  GroupWork work = prepared();
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b busy"));
  mapping[0] = 'S';
  EXPECT_EQ(unit::read_file(x("b")), "Same");
  ::munmap(mapping, 4);
}

// Its path look-up had found the old inode; its open reaches it in staging, before it is settled.
TEST_F(LinkerTest, GivesBackAFileThatIsOpenedForWritingBeforeItIsSettled) {
  plan();
  const uint64_t own = unit::ino_of(x("b"));
  const UniqueFd path(::open(x("b").c_str(), O_PATH | O_CLOEXEC));
  GroupWork work = prepared();
  link(work);
  EXPECT_TRUE(linked("b"));
  std::thread guest([&] {
    const UniqueFd writer =
        open_for_writing("/proc/self/fd/" + std::to_string(path.get()));  // waits for the lease
    EXPECT_EQ(::pwrite(writer.get(), "MINE", 4, 0), 4);
  });
  while (work.swapped[1].lease.unbroken()) std::this_thread::yield();
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b busy"));
  EXPECT_EQ(unit::ino_of(x("b")), own);
  work = {};  // the leases end with the batch
  guest.join();
  EXPECT_EQ(unit::read_file(x("b")), "MINE");
  EXPECT_EQ(unit::read_file(x("a")), "same");
  EXPECT_TRUE(linked("a") && linked("c"));
  expect_tidy();
}

TEST_F(LinkerTest, GivesBackAFileWhoseClassChangesBeforeItIsSettled) {
  const std::function<void(int)> changes[] = {
      [](int fd) { EXPECT_EQ(::fchmod(fd, 0600), 0); }, [](int fd) { EXPECT_EQ(::fchown(fd, 7, 7), 0); },
      [](int fd) { EXPECT_EQ(::fsetxattr(fd, "user.new", "1", 1, 0), 0); },
      [](int fd) {
        const timespec t[2] = {{1, 0}, {1, 0}};
        EXPECT_EQ(::futimens(fd, t), 0);
      }};
  int round = 0;
  for (const auto& change : changes) {
    start_over("same" + std::to_string(round++));
    plan();
    const UniqueFd reader(::open(x("b").c_str(), O_RDONLY | O_CLOEXEC));
    const uint64_t own = unit::ino_of(x("b"));
    GroupWork work = prepared();
    work.processes = Processes::none;  // it is not about who has it open
    link(work);
    change(reader.get());
    settle(work);
    EXPECT_THAT(refused(work), ElementsAre("b changed_meanwhile")) << round;
    EXPECT_EQ(unit::ino_of(x("b")), own) << round;
    EXPECT_TRUE(linked("a") && linked("c")) << round;
    expect_tidy();
  }
}

// A guest opens its name of the master for writing in the window, and waits. Another guest's file changes
// meanwhile: it must get its own back all the same.
TEST_F(LinkerTest, GivesBackAlsoWhileSomebodyWaitsToWriteToTheMaster) {
  plan();
  const UniqueFd b(::open(x("b").c_str(), O_RDONLY | O_CLOEXEC));
  const uint64_t own = unit::ino_of(x("b"));
  GroupWork work = prepared();
  std::atomic<bool> let_go{false}, opened{false};
  std::jthread guest;
  bool once = true;
  host().guard->before_seal = [&](int master) {
    if (!std::exchange(once, false)) return;
    guest = std::jthread([&] {
      const UniqueFd writer = open_for_writing(x("a"));
      opened = true;
      while (!let_go) std::this_thread::yield();
    });
    while (::fcntl(master, F_GETLEASE) == F_RDLCK) std::this_thread::yield();
  };
  link(work);
  EXPECT_EQ(work.verdict, Verdict::retire);
  EXPECT_FALSE(opened) << "the lease lasts until the duplicates are settled, and the open waits for its end";
  EXPECT_EQ(::fchmod(b.get(), 0600), 0);
  settle(work);
  EXPECT_EQ(unit::ino_of(x("b")), own);
  EXPECT_EQ(unit::lstat_of(x("b")).st_mode & 07777, 0600u);
  let_go = true;
  guest.join();
  expect_tidy();
}

TEST_F(LinkerTest, TakesEverythingBackFromATaintedMaster) {
  plan();
  const uint64_t a = unit::ino_of(x("a")), b = unit::ino_of(x("b")), c = unit::ino_of(x("c"));
  GroupWork work = prepared();
  link(work);
  work.verdict = Verdict::tainted;  // unsealed_window_test.cc shows how that comes to be
  settle(work);
  EXPECT_EQ(unit::ino_of(x("a")), a);
  EXPECT_EQ(unit::ino_of(x("b")), b);
  EXPECT_EQ(unit::ino_of(x("c")), c);
  EXPECT_THAT(work.linked, IsEmpty());
  EXPECT_EQ(host().counts.files_linked, 0u);
  expect_tidy();
}

TEST_F(LinkerTest, LinksNothingToAMasterThatSomebodyCanWriteTo) {
  ASSERT_EQ(::unlink(x("c").c_str()), 0);
  run();
  unit::unseal(x("a"));
  const UniqueFd writer = open_for_writing(x("a"));
  unit::seal(x("a"));
  host().file("c", "usr/x", "same");
  const GroupWork work = run();
  EXPECT_THAT(refused(work), ElementsAre("c busy"));
  EXPECT_FALSE(linked("c"));
  expect_tidy();
}

// --- Masters that are not what they were -------------------------------------------------------------------

TEST_F(LinkerTest, AMasterOfAnotherClassThanRecordedIsNotUsed) {
  ASSERT_EQ(::unlink(x("c").c_str()), 0);
  run();
  unit::unseal(x("a"));
  ASSERT_EQ(::chmod(x("a").c_str(), 0666), 0);
  unit::seal(x("a"));
  host().file("c", "usr/x", "same");
  plan();
  GroupWork work = prepared();
  EXPECT_TRUE(work.master.fresh);
  EXPECT_GT(host().context.log.failed_objects(), 0u) << "it is told: somebody tampered with it";
  link(work);
  settle(work);
  EXPECT_TRUE(linked("c"));
  EXPECT_NE(unit::ino_of(x("c")), unit::ino_of(x("a")));
}

// --- Hard links --------------------------------------------------------------------------------------------

TEST_F(LinkerTest, MovesAllNamesOfAHardLinkedFile) {
  host().link("a", "usr/x", "usr/y");
  host().link("a", "usr/x", "other/dir/z");
  run();
  EXPECT_TRUE(linked("a") && linked("b"));
  for (const char* name : {"usr/y", "other/dir/z"}) EXPECT_EQ(host().ino("a", name), master_ino()) << name;
  expect_tidy();
}

TEST_F(LinkerTest, MovesNoNameWhenOneOfThemWasReplaced) {
  host().link("b", "usr/x", "usr/y");
  plan();
  const uint64_t own = unit::ino_of(x("b"));
  GroupWork work = prepared();
  // In the window: the look at the first name of it is still to come, but its number of links is as scanned.
  host().guard->after_unseal = [&](int) {
    host().guard->after_unseal = {};
    ASSERT_EQ(::link(x("b").c_str(), host().path("b", "kept").c_str()), 0);
    host().file("b", "usr/new", "mine");
    ASSERT_EQ(::rename(host().path("b", "usr/new").c_str(), host().path("b", "usr/y").c_str()), 0);
  };
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b changed_meanwhile"));
  EXPECT_EQ(unit::ino_of(x("b")), own);
  EXPECT_EQ(host().ino("b", "kept"), own);
  EXPECT_EQ(host().content("b", "usr/y"), "mine");
  EXPECT_TRUE(linked("a") && linked("c"));
  expect_tidy();
}

// As above, with an identity that gives nothing away: the scan's row is made to fit what is there now.
TEST_F(LinkerTest, ANameThatBecameAnotherFileIsFoundOutByTheExchange) {
  host().link("b", "usr/x", "usr/y");
  host().link("b", "usr/x", "usr/z");
  host().plan();
  host().file("b", "usr/new", "mine");
  ASSERT_EQ(::rename(host().path("b", "usr/z").c_str(), host().path("b", "kept").c_str()), 0);
  ASSERT_EQ(::rename(host().path("b", "usr/new").c_str(), host().path("b", "usr/z").c_str()), 0);
  const auto rows = host().files.table.rows();
  FileTable again;
  for (const auto& row : rows) {
    const auto guest = host().files.table.guest(row);
    const auto stat = stat_at(host().guests[guest].root.fd(), "usr/x", "");
    FileRow now = row_of(*stat);
    now.tag = row.tag;
    again.add_row(now, again.add_dir(guest, host().files.table.dir_path(row.dir)),
                  host().files.table.name(row));
  }
  host().files.table = std::move(again);
  linker_.reset(new Linker(host().linker()));
  const uint64_t own = unit::ino_of(x("b"));
  GroupWork work = prepared();
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b changed_meanwhile"));
  for (const char* name : {"usr/x", "usr/y", "kept"}) EXPECT_EQ(host().ino("b", name), own) << name;
  EXPECT_EQ(host().content("b", "usr/z"), "mine");
  EXPECT_TRUE(linked("a") && linked("c"));
  expect_tidy();
}

// --- Large files, odd names --------------------------------------------------------------------------------

// Above what is kept of a master while its duplicates are compared: read beside each duplicate.
TEST_F(LinkerTest, ComparesLargeFilesToTheLastByte) {
  std::string content(9 << 20, 'x');
  host().everywhere("usr/x", content);
  content.back() = 'y';
  host().file("b", "usr/x", content);
  content.back() = 'x';
  plan_untruly(content);
  GroupWork work = prepared();
  link(work);
  settle(work);
  EXPECT_THAT(refused(work), ElementsAre("b changed_meanwhile"));
  EXPECT_EQ(unit::read_file(x("b")).back(), 'y');
  EXPECT_TRUE(linked("a") && linked("c"));
}

TEST_F(LinkerTest, KeepsHoles) {
  host().everywhere("usr/x", "");
  for (const char* guest : {"a", "b", "c"}) {
    const UniqueFd fd = open_for_writing(x(guest));
    const std::string begin(3 << 20, 'b');  // what is mostly holes is left alone
    ASSERT_EQ(::pwrite(fd.get(), begin.data(), begin.size(), 0), static_cast<ssize_t>(begin.size()));
    ASSERT_EQ(::pwrite(fd.get(), "end", 3, 8 << 20), 3);
    unit::set_mtime(x(guest), unit::kMtime);
  }
  run();
  EXPECT_TRUE(linked("a") && linked("b"));
  EXPECT_LT(unit::lstat_of(x("a")).st_blocks, 1000 + (3 << 20) / 512);
  EXPECT_EQ(unit::read_file(x("a")).substr(8 << 20), "end");
}

TEST_F(LinkerTest, TakesNamesOfAnyBytesAndPathsOfAnyLength) {
  for (const char* guest : {"a", "b", "c"}) ASSERT_EQ(::unlink(x(guest).c_str()), 0);
  const std::string names[] = {"new\nline", "\x1b[2J", "\xff\xfe", std::string(255, 'n'), "dir\n/in dir"};
  for (const auto& name : names) host().everywhere(name, "same");
  std::string deep;
  for (const char* guest : {"a", "b", "c"}) {
    UniqueFd deepest;
    deep = unit::make_deep(host().path(guest), std::string(200, 'd'), 30, deepest);
    const UniqueFd leaf(::openat(deepest.get(), "leaf", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    ASSERT_EQ(::write(leaf.get(), "same", 4), 4);
    const timespec times[2] = {{0, UTIME_OMIT}, {unit::kMtime / 1'000'000'000, unit::kMtime % 1'000'000'000}};
    ASSERT_EQ(::futimens(leaf.get(), times), 0);
  }
  const GroupWork work = run();
  EXPECT_THAT(refused(work), IsEmpty());
  for (const auto& name : names) EXPECT_EQ(host().ino("b", name), master_ino());
  EXPECT_EQ(stat_fd(host().guests.back().root.open_regular(deep + "/leaf")->get(), "")->ino, master_ino());
  EXPECT_EQ(host().counts.files_linked, 18u);
  expect_tidy();
}

// --- Time ignored ------------------------------------------------------------------------------------------

TEST_F(LinkerTest, WhereTimesAreIgnoredTheMasterTakesTheOldest) {
  unit::set_mtime(x("b"), 1'000'000'000'000'000'000);
  host().rules.ignore_mtime = true;
  run();
  EXPECT_TRUE(linked("a") && linked("b") && linked("c"));
  EXPECT_EQ(unit::lstat_of(x("c")).st_mtim.tv_sec, 1'000'000'000);
}

// --- Journal -----------------------------------------------------------------------------------------------

TEST_F(LinkerTest, AnnouncesTheStagingNamesThatItUses) {
  host().link("a", "usr/x", "usr/y");
  plan();
  GroupWork work = prepared();
  JournalBatch batch;
  linker_->announce(work, batch);
  EXPECT_THAT(batch.masters, ElementsAre(work.master.record.name));
  ASSERT_THAT(batch.steps, SizeIs(4));
  link(work);
  for (const auto& step : batch.steps) {
    EXPECT_EQ(step.new_ino, master_ino());
    EXPECT_EQ(unit::ino_of(host().store_path() + "/staging/" + step.staged), step.old_ino) << step.path;
    EXPECT_EQ(host().ino(step.guest, step.path), step.new_ino);
  }
  settle(work);
  expect_tidy();
}

}  // namespace
}  // namespace vs::unify
