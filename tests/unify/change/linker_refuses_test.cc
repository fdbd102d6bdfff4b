// Runs twice, the second time with VS_NO_OPENAT2=1. What a guest does between the steps, one thing a test,
// and what is then left alone or given back; what it does in the midst of them is in exchange_test.cc and in
// tests/root.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <thread>

#include "tests/unify/change/linker_fixture.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Verdict = UnsealedWindow::Verdict;

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

}  // namespace
}  // namespace vs::unify
