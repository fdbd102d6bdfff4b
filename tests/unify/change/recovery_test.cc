#include "unify/change/recovery.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/store/inode_flags.h"
#include "core/store/reseal.h"
#include "tests/support/skip.h"
#include "tests/unify/fixture.h"
#include "unify/change/release.h"
#include "unify/unify.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

void must(long result) {
  if (result < 0) throw std::runtime_error(std::string("test set-up: ") + std::strerror(errno));
}

// a has "same" as usr/x and usr/y, one inode; b has it as usr/x. One batch wants to link all three names, and
// dies.
class RecoveryTest : public unit::HostTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    begin();
  }
  void begin() {
    host().everywhere("usr/x", "same");
    host().link("a", "usr/x", "usr/y");
    host().plan();
    Linker linker = host().linker();
    work_ = host().work(GroupNumber(0), linker);
    batch_ = {};
    batch_.number = 1;
    linker.announce(work_, batch_);
    a_ = host().ino("a", "usr/x");
    b_ = host().ino("b", "usr/x");
    master_ = work_.master.record.ino;
    work_.master.fd.reset();  // dead processes hold nothing
    unit::unseal(master());   // killed in the master's window, and the seal keeper with it
  }
  void begin_again() {
    for (const size_t i : {0, 1, 2})
      if (linked(i)) unit::unseal(guest(i));
    for (const size_t i : {0, 1, 2}) must(::unlink(guest(i).c_str()));
    if (unit::is_sealed(master())) unit::unseal(master());
    must(::unlink(master().c_str()));
    std::filesystem::remove_all(host().state() + "/runs");
    host().masters = MasterTable::load(host().store.get(), *host().index);
    begin();
  }
  void intend() { ok_or_throw(Journal(journal(), host().journal_run()).intend(batch_)); }

  // What a run does to one of the names (0: a usr/x, 1: a usr/y, 2: b usr/x), call by call.
  std::string staged(size_t i) { return host().store_path() + "/staging/" + batch_.steps[i].staged; }
  std::string guest(size_t i) { return host().path(batch_.steps[i].guest, batch_.steps[i].path); }
  std::string master() { return host().master_path(batch_.masters[0]); }
  void stage(size_t i) { must(::link(master().c_str(), staged(i).c_str())); }
  void exchange(size_t i) {
    must(::syscall(SYS_renameat2, AT_FDCWD, staged(i).c_str(), AT_FDCWD, guest(i).c_str(), RENAME_EXCHANGE));
  }
  void drop(size_t i) { must(::unlink(staged(i).c_str())); }
  void link_all() {
    for (const size_t i : {0, 1, 2}) {
      stage(i);
      exchange(i);
    }
  }

  RecoveryResult recover() {
    host().masters = MasterTable::load(host().store.get(), *host().index);
    return recover_store(*host().store, *host().guard, nullptr, host().state(), host().masters, *host().index,
                         host().context.run);
  }
  std::string journal() { return host().state() + "/journal"; }
  // Whatever was interrupted: bytes as they were, links of the guest still links, nothing on its way, nothing
  // unsealed.
  void expect_whole(const std::string& what) {
    SCOPED_TRACE(what);
    EXPECT_EQ(host().content("a", "usr/x"), "same");
    EXPECT_EQ(host().content("a", "usr/y"), "same");
    EXPECT_EQ(host().content("b", "usr/x"), "same");
    EXPECT_EQ(host().ino("a", "usr/x"), host().ino("a", "usr/y"))
        << "two names of one file are still one file";
    expect_tidy();
    EXPECT_FALSE(needs_recovery(host().store.get(), host().state()));
    EXPECT_FALSE(recover().needed) << "a second time there is nothing to do";
  }
  void expect_tidy() {
    EXPECT_THAT(host().staging(), IsEmpty());
    EXPECT_THAT(host().lost(), IsEmpty());
    for (const auto& stored : host().store->list_masters())
      EXPECT_TRUE(unit::is_sealed(host().master_path(stored.name))) << stored.name;
  }
  bool linked(size_t i) { return unit::ino_of(guest(i)) == master_; }

  GroupWork work_;
  JournalBatch batch_;
  uint64_t a_ = 0, b_ = 0, master_ = 0;
};

TEST_F(RecoveryTest, NothingIsNothing) {
  EXPECT_FALSE(needs_recovery(host().store.get(), host().state()));
  EXPECT_FALSE(recover().needed);
  EXPECT_FALSE(needs_recovery(nullptr, host().state()));
}

// Killed after any call of the batch.
TEST_F(RecoveryTest, BringsEveryPrefixOfABatchToAllOldOrAllNew) {
  const std::vector<std::function<void()>> calls = {[&] { stage(0); },
                                                    [&] { exchange(0); },
                                                    [&] { stage(1); },
                                                    [&] { exchange(1); },
                                                    [&] { stage(2); },
                                                    [&] { exchange(2); },
                                                    [&] { unit::seal(master()); },
                                                    [&] { drop(0); },
                                                    [&] { drop(1); },
                                                    [&] { drop(2); }};
  for (size_t done = 0; done <= calls.size(); ++done) {
    intend();
    for (size_t i = 0; i < done; ++i) calls[i]();
    ASSERT_TRUE(needs_recovery(host().store.get(), host().state()));
    const auto result = recover();
    EXPECT_TRUE(result.needed);
    EXPECT_EQ(result.run, host().journal_run().run);
    EXPECT_EQ(result.sealed, 1u);
    expect_whole("killed after call " + std::to_string(done));
    EXPECT_EQ(linked(0), done >= 4) << "a's two names: all or none, " << done;
    EXPECT_EQ(linked(2), done >= 6) << done;
    if (HasFailure()) return;
    begin_again();
  }
}

// The same where names were renamed over (a program runs from the old inode). The guest's file has another
// name in staging before that.
TEST_F(RecoveryTest, BringsEveryPrefixOfARenameOverToOldOrNew) {
  const std::string kept = ".kept";
  const auto keep = [&] { must(::link(guest(2).c_str(), (staged(2) + kept).c_str())); };
  const auto over = [&] { must(::rename(staged(2).c_str(), guest(2).c_str())); };
  const auto shown = [&] { must(::rename((staged(2) + kept).c_str(), staged(2).c_str())); };
  const std::vector<std::function<void()>> calls = {[&] { stage(2); }, keep, over, shown, [&] { drop(2); }};
  intend();
  for (size_t done = 0; done <= calls.size(); ++done) {
    if (done > 0) {
      begin_again();
      intend();
    }
    for (size_t i = 0; i < done; ++i) calls[i]();
    recover();
    SCOPED_TRACE(done);
    EXPECT_EQ(linked(2), done >= 3);
    EXPECT_EQ(unit::read_file(guest(2)), "same");
    if (!linked(2)) {
      EXPECT_EQ(unit::lstat_of(guest(2)).st_nlink, 1u);
    }
    expect_tidy();
  }
}

TEST_F(RecoveryTest, WritesWhatItFinishedIntoTheHistoryOfThatRun) {
  intend();
  link_all();
  recover();
  const auto run = read_run(host().state(), host().journal_run().run);
  std::vector<std::string> names;
  for (const auto& step : run.steps) names.push_back(step.guest + ":" + step.path);
  EXPECT_THAT(names, testing::UnorderedElementsAre("a:usr/x", "a:usr/y", "b:usr/x"));
  const auto groups = known_link_groups(host().state());
  EXPECT_THAT(groups, SizeIs(2)) << "undo knows that a's two names were one file";
}

TEST_F(RecoveryTest, GivesBackAFileThatAWriterChangedBeforeItDied) {
  intend();
  link_all();
  unit::write_file(staged(2), "MINE");  // through a descriptor that the guest had
  unit::set_mtime(staged(2), unit::kMtime);
  recover();
  EXPECT_EQ(unit::ino_of(guest(2)), b_);
  EXPECT_EQ(unit::read_file(guest(2)), "MINE");
  EXPECT_TRUE(linked(0) && linked(1));
  expect_tidy();
}

TEST_F(RecoveryTest, GivesBackAFileWhoseClassChanged) {
  intend();
  link_all();
  must(::chmod(staged(0).c_str(), 0600));
  recover();
  EXPECT_EQ(unit::ino_of(guest(0)), a_);
  EXPECT_EQ(unit::ino_of(guest(1)), a_);
  EXPECT_TRUE(linked(2));
  expect_tidy();
}

TEST_F(RecoveryTest, GivesBackAFileThatSomebodyHasOpenForWriting) {
  intend();
  link_all();
  const UniqueFd writer(::open(staged(2).c_str(), O_WRONLY | O_CLOEXEC));
  recover();
  EXPECT_EQ(unit::ino_of(guest(2)), b_);
  must(::pwrite(writer.get(), "MINE", 4, 0));
  EXPECT_EQ(unit::read_file(guest(2)), "MINE");
  EXPECT_EQ(unit::read_file(guest(0)), "same");
  expect_tidy();
}

// The guest had put something else there in the last moment, and we died before it was given back.
TEST_F(RecoveryTest, GivesBackWhatTheGuestHadPutThereMeanwhile) {
  intend();
  host().file("b", "usr/new", "newer");
  must(::rename(host().path("b", "usr/new").c_str(), guest(2).c_str()));
  const uint64_t newer = unit::ino_of(guest(2));
  stage(2);
  exchange(2);
  recover();
  EXPECT_EQ(unit::ino_of(guest(2)), newer);
  EXPECT_EQ(unit::read_file(guest(2)), "newer");
  expect_tidy();
}

TEST_F(RecoveryTest, GivesBackADirectoryAndASymlinkToo) {
  intend();
  must(::unlink(guest(2).c_str()));
  unit::write_file(guest(2) + "/inside", "x");
  stage(2);
  exchange(2);
  must(::unlink(guest(1).c_str()));
  unit::make_symlink("x", guest(1));
  stage(1);
  exchange(1);
  recover();
  EXPECT_EQ(unit::read_file(guest(2) + "/inside"), "x");
  EXPECT_TRUE(S_ISLNK(unit::lstat_of(guest(1)).st_mode));
  expect_tidy();
}

TEST_F(RecoveryTest, KeepsWhatHasNoPlaceAnyMore) {
  intend();
  stage(2);
  exchange(2);
  unit::write_file(staged(2), "MINE");
  unit::unseal(master());
  std::filesystem::remove_all(host().path("b", "usr"));
  const auto result = recover();
  EXPECT_EQ(result.lost, 1u);
  ASSERT_THAT(host().lost(), SizeIs(1));
  EXPECT_EQ(unit::read_file(host().store_path() + "/lost/" + host().lost()[0]), "MINE");
  EXPECT_THAT(host().staging(), IsEmpty());
}

TEST_F(RecoveryTest, KeepsTheFilesOfAGuestThatIsGone) {
  intend();
  link_all();
  unit::write_file(staged(2), "MINE");
  std::filesystem::rename(host().path("b"), host().path("moved-away"));
  recover();
  ASSERT_THAT(host().lost(), SizeIs(1));
  EXPECT_TRUE(linked(0) && linked(1));
  EXPECT_THAT(host().staging(), IsEmpty());
}

// --- Masters -----------------------------------------------------------------------------------------------

TEST_F(RecoveryTest, TakesEverythingBackFromATaintedMaster) {
  intend();
  link_all();
  unit::write_file(master(), "EVIL");
  recover();
  EXPECT_EQ(unit::ino_of(guest(0)), a_);
  EXPECT_EQ(unit::ino_of(guest(1)), a_);
  EXPECT_EQ(unit::ino_of(guest(2)), b_);
  EXPECT_EQ(unit::read_file(guest(2)), "same");
  expect_tidy();
  const auto records = host().index->masters(host().store->id());
  ASSERT_THAT(records, SizeIs(1));
  EXPECT_TRUE(records[0].retired) << "no run after this one gives out names of it either";
}

TEST_F(RecoveryTest, PutsTheClassOfAMasterBack) {
  intend();
  link_all();
  must(::chmod(master().c_str(), 0666));
  recover();
  EXPECT_TRUE(linked(0) && linked(2));
  EXPECT_EQ(unit::lstat_of(master()).st_mode & 07777, 0644u);
  expect_tidy();
}

// The flags that it has when recovery comes are not those that it was made with.
TEST_F(RecoveryTest, PutsTheFlagsOfAMasterBack) {
  intend();
  link_all();
  const UniqueFd fd(::open(master().c_str(), O_RDONLY | O_CLOEXEC));
  const InodeMarks before = marks_of(fd.get());
  ok_or_throw(change_inode_flags(fd.get(), FS_NODUMP_FL, true, master()));
  recover();
  EXPECT_TRUE(linked(0) && linked(2));
  EXPECT_EQ(marks_of(fd.get()), before);
  expect_tidy();
}

// Even the keeper was killed, and a guest is in. The journal stays until it goes.
TEST_F(RecoveryTest, WaitsForAnotherDayWhileSomebodyCanWriteToAMaster) {
  intend();
  link_all();
  UniqueFd writer(::open(master().c_str(), O_WRONLY | O_CLOEXEC));
  auto result = recover();
  EXPECT_EQ(result.unfinished, 1u);
  EXPECT_TRUE(unit::is_sealed(master())) << "but it is sealed at once";
  EXPECT_LT(::pwrite(writer.get(), "EVIL", 4, 0), 0);
  EXPECT_TRUE(needs_recovery(host().store.get(), host().state()));
  writer.reset();
  result = recover();
  EXPECT_EQ(result.unfinished, 0u);
  expect_whole("the writer is gone");
  EXPECT_TRUE(linked(0) && linked(1) && linked(2));
}

// Named in the store and not sealed yet, or unsealed by gc: no batch of the journal tells of it.
TEST_F(RecoveryTest, LeavesNoUnsealedMaster) {
  const auto begun = [&] { Journal(journal(), host().journal_run()); };
  begun();
  ASSERT_FALSE(unit::is_sealed(master()));
  recover();
  EXPECT_TRUE(unit::is_sealed(master())) << "known to the index";
  unit::unseal(master());
  begun();
  host().index->erase_masters(host().store->id(), {master_});
  recover();
  EXPECT_TRUE(unit::is_sealed(master())) << "not known to it";
}

// --- Two masters -------------------------------------------------------------------------------------------

// While the other master was unsealed as well, b renamed its name of it over usr/x: that came out of the
// exchange, and we died.
class RecoverTwoMastersTest : public RecoveryTest {
 protected:
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().everywhere("usr/o", "other");
    host().unify();
    begin();
    other_ = host().path("a", "usr/o");
    intend();
    unit::unseal(other_);
    must(::rename(host().path("b", "usr/o").c_str(), guest(2).c_str()));
    stage(2);
    exchange(2);
  }
  std::string other_;
};

TEST_F(RecoverTwoMastersTest, GivesBackANameOfAnotherMaster) {
  for (const bool seals : {true, false}) {
    if (seals) unit::seal(other_);
    const auto result = recover();
    EXPECT_EQ(result.lost, 0u);
    EXPECT_EQ(unit::ino_of(guest(2)), unit::ino_of(other_)) << "what the guest put there";
    expect_tidy();
    EXPECT_FALSE(needs_recovery(host().store.get(), host().state()));
    if (!seals) break;
    // Once more, killed before the other one was sealed.
    intend();
    unit::unseal(other_);
    unit::unseal(master());
    stage(2);
    exchange(2);
  }
}

TEST_F(RecoverTwoMastersTest, WaitsForAnotherDayWhileSomebodyCanWriteToTheOther) {
  UniqueFd writer(::open(other_.c_str(), O_WRONLY | O_CLOEXEC));
  unit::seal(other_);
  EXPECT_EQ(recover().unfinished, 1u);
  EXPECT_EQ(unit::ino_of(staged(2)), unit::ino_of(other_)) << "it is not thrown away";
  EXPECT_TRUE(needs_recovery(host().store.get(), host().state()));
  writer.reset();
  EXPECT_EQ(recover().unfinished, 0u);
  EXPECT_EQ(unit::ino_of(guest(2)), unit::ino_of(other_));
  expect_tidy();
}

// --- Journal or state lost ---------------------------------------------------------------------------------

TEST_F(RecoveryTest, WithoutAJournalNamesOfMastersGoAndTheRestIsKept) {
  stage(0);
  exchange(0);
  stage(2);
  const auto result = recover();
  EXPECT_TRUE(result.needed);
  EXPECT_EQ(result.run, std::nullopt);
  EXPECT_EQ(result.lost, 1u);
  EXPECT_THAT(host().staging(), IsEmpty());
  ASSERT_THAT(host().lost(), SizeIs(1));
  EXPECT_EQ(unit::ino_of(host().store_path() + "/lost/" + host().lost()[0]), a_) << "a's old inode";
  EXPECT_TRUE(unit::is_sealed(master()));
}

TEST_F(RecoveryTest, AStoreWhoseIndexIsLostKnowsItsMastersAgain) {
  intend();
  link_all();
  host().index->erase_masters(host().store->id(), {master_});
  recover();
  expect_whole("index lost");
  EXPECT_TRUE(linked(0) && linked(1) && linked(2));
  ASSERT_EQ(host().masters.size(), 1u);
  EXPECT_EQ(host().masters.records().front().sha256, unit::digest_of(DigestAlgorithm::sha256, "same"));
}

TEST_F(RecoveryTest, RefusesTheJournalOfAnotherStore) {
  auto run = host().journal_run();
  run.store_id = std::string(32, 'f');
  run.store = "/elsewhere/.unify";
  ok_or_throw(Journal(journal(), run).intend(batch_));
  stage(0);
  try {
    recover();
    FAIL() << "recovered another store's journal";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("/elsewhere/.unify"));
  }
  EXPECT_THAT(host().staging(), SizeIs(1)) << "nothing was touched";
  EXPECT_TRUE(read_journal(journal()));
}

TEST_F(RecoveryTest, ATornIntentWasNeverBegun) {
  intend();
  const std::string whole = unit::read_file(journal());
  unit::write_file(journal(), whole.substr(0, whole.size() - 3));
  recover();
  expect_whole("torn");
  EXPECT_FALSE(linked(0));
}

// --- Release -----------------------------------------------------------------------------------------------

// All three names are the master's; a run gives a's names one private copy and b's another, and dies.
class RecoverReleaseTest : public RecoveryTest {
 protected:
  void SetUp() override {
    RecoveryTest::SetUp();
    if (IsSkipped()) return;
    link_all();
    for (const size_t i : {0, 1, 2}) drop(i);
    unit::seal(master());
  }
  void copy(size_t i) {
    host().masters = MasterTable::load(host().store.get(), *host().index);
    const auto open =
        value_or_throw(open_master(*host().store, *host().guard, host().masters.records().front()));
    const auto made = value_or_throw(private_copy(*host().store, open));
    must(::linkat(made.get(), "", host().store->staging_fd(), batch_.steps[i].staged.c_str(), AT_EMPTY_PATH));
  }
  void copies() {
    copy(0);
    must(::link(staged(0).c_str(), staged(1).c_str()));
    copy(2);
  }
  void intend_release() {
    batch_.kind = StepKind::release;
    for (size_t i = 0; i < 3; ++i) {
      batch_.steps[i].new_ino = unit::ino_of(staged(i));
      batch_.steps[i].old_ino = master_;
    }
    intend();
  }
  bool writable(size_t i) { return UniqueFd(::open(guest(i).c_str(), O_WRONLY | O_CLOEXEC)).get() >= 0; }
};

TEST_F(RecoverReleaseTest, BringsEveryPrefixOfABatchToMasterOrCopy) {
  const std::vector<std::function<void()>> calls = {[&] { unit::unseal(master()); },
                                                    [&] { exchange(0); },
                                                    [&] { drop(0); },
                                                    [&] { exchange(1); },
                                                    [&] { drop(1); },
                                                    [&] { exchange(2); },
                                                    [&] { drop(2); },
                                                    [&] { unit::seal(master()); }};
  for (size_t done = 0; done <= calls.size(); ++done) {
    copies();
    intend_release();
    for (size_t i = 0; i < done; ++i) calls[i]();
    recover();
    SCOPED_TRACE("killed after call " + std::to_string(done));
    for (const size_t i : {0, 1, 2}) EXPECT_EQ(unit::read_file(guest(i)), "same");
    EXPECT_EQ(writable(0), done >= 2);
    EXPECT_EQ(unit::ino_of(guest(0)), unit::ino_of(guest(1))) << "a's two names are one file, whichever";
    EXPECT_EQ(writable(2), done >= 6);
    expect_tidy();
    EXPECT_FALSE(needs_recovery(host().store.get(), host().state()));
    if (HasFailure()) return;
    for (const size_t i : {0, 1, 2})
      if (writable(i)) {
        must(::unlink(guest(i).c_str()));
        unit::unseal(master());
        must(::link(master().c_str(), guest(i).c_str()));
        unit::seal(master());
      }
  }
}

// The first name was given, and the guest wrote to it at once: the second follows, and no write is undone.
TEST_F(RecoverReleaseTest, TheSecondNameFollowsTheFirst) {
  for (const bool staged_too : {true, false}) {
    copies();
    intend_release();
    unit::unseal(master());
    exchange(0);
    drop(0);
    if (!staged_too) drop(1);
    unit::write_file(guest(0), "MINE");
    recover();
    EXPECT_EQ(unit::read_file(guest(1)), "MINE");
    EXPECT_EQ(unit::ino_of(guest(0)), unit::ino_of(guest(1)));
    EXPECT_TRUE(linked(2));
    expect_tidy();
    unit::unseal(master());
    for (const size_t i : {0, 1}) {
      must(::unlink(guest(i).c_str()));
      must(::link(master().c_str(), guest(i).c_str()));
    }
    unit::seal(master());
  }
}

// The guest has nothing of the copy left: its other name stays what it was.
TEST_F(RecoverReleaseTest, ACopyThatTheGuestRemovedComesNotBack) {
  copies();
  intend_release();
  unit::unseal(master());
  exchange(0);
  drop(0);
  drop(1);
  must(::unlink(guest(0).c_str()));
  recover();
  EXPECT_FALSE(unit::exists(guest(0)));
  EXPECT_TRUE(linked(1));
  expect_tidy();
}

TEST_F(RecoverReleaseTest, GivesBackWhatTheGuestHadPutThereMeanwhile) {
  copies();
  intend_release();
  unit::unseal(master());
  must(::unlink(guest(2).c_str()));
  unit::write_file(guest(2), "newer");
  exchange(2);
  recover();
  EXPECT_EQ(unit::read_file(guest(2)), "newer");
  expect_tidy();
}

// --- As the verbs do it ------------------------------------------------------------------------------------

// A locked pool looks at guests and store through a private view of their mount, and names cannot be
// exchanged between that and the mount itself.
TEST_F(RecoveryTest, WorksForALockedPool) {
  if (::unshare(CLONE_NEWNS) != 0) VS_SKIP(kRoot) << "a private view of the mount needs root";
  intend();
  link_all();
  unit::write_file(staged(2), "MINE");
  Options options;
  options.trees = {"a=" + host().path("a"), "b=" + host().path("b")};
  options.state = host().state();
  options.store = host().store_path();
  options.guard = "immutable";
  options.scope = "all";
  host().index.reset();  // one environment a process
  LockedPool pool = lock_pool(take_inventory(options, host().context.run), host().context.run);
  EXPECT_EQ(make_whole(pool, host().context.run).lost, 0u);
  EXPECT_EQ(unit::ino_of(guest(2)), b_);
  EXPECT_EQ(unit::read_file(guest(2)), "MINE");
  EXPECT_TRUE(linked(0) && linked(1));
  EXPECT_THAT(host().lost(), IsEmpty());
  EXPECT_THAT(host().staging(), IsEmpty());
}

}  // namespace
}  // namespace vs::unify
