#include "unify/change/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "core/error.h"
#include "tests/core/scratch.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using namespace std::string_literals;

JournalRun some_run(const std::string& id = "20261124T054033Z-1") {
  return {id, "run", "/pool/.unify", "storeid", {{"web", "/vservers/web"}, {"mail", "/x\ny"}}};
}

JournalBatch some_batch(uint32_t number) {
  return {number,
          StepKind::link,
          {"ab/cd"},
          {{"00000000", "web", "usr/bin/\xff\n\x1b", 10, 20},
           {"00000001", "mail", std::string(5000, 'p'), 10, 21}}};
}

class JournalTest : public testing::Test {
 protected:
  void SetUp() override { unit::make_dirs(dir_.path()); }
  std::string file() const { return dir_ / "journal"; }
  std::string state() const { return dir_.path(); }
  const unit::ScratchDir dir_;
};

TEST_F(JournalTest, WhatIsIntendedAndNotDoneIsReadBack) {
  Journal journal(file(), some_run());
  ASSERT_TRUE(journal.intend(some_batch(1)));
  ASSERT_TRUE(journal.intend(some_batch(2)));
  ASSERT_TRUE(journal.done(1));
  const auto unfinished = read_journal(file());
  ASSERT_TRUE(unfinished);
  EXPECT_EQ(unfinished->run.run, some_run().run);
  EXPECT_EQ(unfinished->run.store_id, "storeid");
  ASSERT_THAT(unfinished->run.trees, SizeIs(2));
  EXPECT_EQ(unfinished->run.trees[1].path, "/x\ny");
  ASSERT_THAT(unfinished->batches, SizeIs(1));
  const JournalBatch& batch = unfinished->batches[0];
  EXPECT_EQ(batch.number, 2u);
  EXPECT_EQ(batch.kind, StepKind::link);
  EXPECT_THAT(batch.masters, ElementsAre("ab/cd"));
  ASSERT_THAT(batch.steps, SizeIs(2));
  EXPECT_EQ(batch.steps[0].path, "usr/bin/\xff\n\x1b");
  EXPECT_EQ(batch.steps[1].path, std::string(5000, 'p'));
  EXPECT_EQ(batch.steps[0].new_ino, 10u);
  EXPECT_EQ(batch.steps[1].old_ino, 21u);
}

TEST_F(JournalTest, TheIntentIsInTheFileWhenIntendReturns) {
  Journal journal(file(), some_run());
  ASSERT_TRUE(journal.intend(some_batch(1)));
  EXPECT_THAT(unit::read_file(file()), HasSubstr("ab/cd"));
}

TEST_F(JournalTest, AFinishedRunLeavesNothingToRecover) {
  Journal journal(file(), some_run());
  ASSERT_TRUE(journal.intend(some_batch(1)));
  journal.finish();
  EXPECT_FALSE(read_journal(file()));
  EXPECT_NO_THROW(Journal(file(), some_run()));
}

TEST_F(JournalTest, NoneIsNothingToRecover) {
  EXPECT_FALSE(read_journal(file()));
}

TEST_F(JournalTest, ANewRunIsRefusedWhileAnOldOneIsUnfinished) {
  { Journal killed(file(), some_run()); }
  EXPECT_THROW(Journal(file(), some_run()), Error);
  EXPECT_TRUE(read_journal(file())) << "and the old one is still told of";
}

// Killed within the first write: nothing was begun.
TEST_F(JournalTest, ATornFirstRecordIsNothing) {
  { Journal killed(file(), some_run()); }
  const std::string whole = unit::read_file(file());
  for (size_t cut = 0; cut < whole.size(); cut += 5) {
    unit::write_file(file(), whole.substr(0, cut));
    ASSERT_FALSE(read_journal(file())) << cut;
  }
  EXPECT_NO_THROW(Journal(file(), some_run()));
}

// An intact record that says what we do not understand must stop us: skipping it could lose a guest's file.
TEST_F(JournalTest, RefusesWhatItDoesNotUnderstand) {
  std::string run_body, bad_intent, kind;
  {
    Journal journal(file(), some_run());
    ASSERT_TRUE(journal.intend(some_batch(1)));
    const auto log = read_record_log(file());
    run_body = log->records[0].body;
    bad_intent = log->records[1].body.substr(0, 30);
    kind = log->records[1].body;
    kind[4] = 9;
  }
  const auto refused = [&](std::vector<LogRecord> records, const char* record) {
    RecordLog log;
    log.records = std::move(records);
    try {
      parse_journal(log, "the/file");
      ADD_FAILURE() << "taken";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("the/file: record "s + record));
    }
  };
  refused({{2, "x"}}, "1");
  refused({{1, run_body + "more"}}, "1");
  refused({{1, "\x02\0\0\0"s + run_body.substr(4)}}, "1");  // a version to come
  refused({{1, run_body}, {2, bad_intent}}, "2");
  refused({{1, run_body}, {2, kind}}, "2");
  refused({{1, run_body}, {77, ""}}, "2");
  refused({{1, run_body}, {1, run_body}}, "2");
}

// --- Run history -------------------------------------------------------------------------------------------

void record(const std::string& state, const std::string& run, const std::vector<HistoryStep>& steps) {
  RunHistory(state, some_run(run)).add(steps);
}

TEST_F(JournalTest, HistoryTellsWhatARunLinked) {
  record(state(), "r1", {{"web", "usr/a\n", "ab/1", 3}, {"web", "usr/b", "ab/1", 3}});
  const auto run = read_run(state(), "r1");
  EXPECT_EQ(run.run.store, "/pool/.unify");
  ASSERT_THAT(run.steps, SizeIs(2));
  EXPECT_EQ(run.steps[0].path, "usr/a\n");
  EXPECT_EQ(run.steps[1].duplicate, 3u);
}

TEST_F(JournalTest, RecoveryGoesOnWithTheHistoryOfTheInterruptedRun) {
  record(state(), "r1", {{"web", "a", "ab/1", 1}});
  record(state(), "r1", {{"web", "b", "ab/1", 2}});
  EXPECT_THAT(read_run(state(), "r1").steps, SizeIs(2));
}

TEST_F(JournalTest, RunsAreListedOldestFirst) {
  for (const char* run : {"20261125T000000Z-1", "20261124T000000Z-9"})
    record(state(), run, {{"web", "a", "ab/1", 1}});
  EXPECT_THAT(list_runs(state()), ElementsAre("20261124T000000Z-9", "20261125T000000Z-1"));
  EXPECT_THAT(list_runs(dir_ / "none"), IsEmpty());
}

// It must not look like one without runs: undo would say there is none, release would make two files of a
// hard link.
TEST_F(JournalTest, AHistoryThatCannotBeReadIsAnErrorThatNamesIt) {
  unit::write_file(dir_ / "runs", "not a directory");
  const auto refused = [&](const auto& what) {
    try {
      what();
      ADD_FAILURE() << "taken for an empty one";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(dir_ / "runs"));
      EXPECT_EQ(error.code(), Exit::failed);
    }
  };
  refused([&] { list_runs(state()); });
  refused([&] { known_link_groups(state()); });
}

TEST_F(JournalTest, ARunThatIsNotThereOrNoNameIsAUsageError) {
  unit::write_file(dir_ / "secret", "x");
  for (const char* run : {"none", "../secret", "../journal", "/etc/passwd"}) {
    try {
      read_run(state(), run);
      ADD_FAILURE() << run;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::usage) << run;
    }
  }
}

TEST_F(JournalTest, TheNewestRunThatTellsOfANameSaysWhatItWasLinkedWith) {
  record(state(), "r1", {{"web", "a", "m1", 1}, {"web", "b", "m1", 1}, {"web", "c", "m1", 2}});
  auto groups = known_link_groups(state());
  EXPECT_THAT(groups, SizeIs(2));
  EXPECT_EQ((groups[{"web", "a"}]), (groups[{"web", "b"}]));
  record(state(), "r2", {{"web", "b", "m2", 1}, {"mail", "a", "m2", 2}, {"mail", "x", "m2", 2}});
  groups = known_link_groups(state());
  EXPECT_FALSE(groups.contains({"web", "b"})) << "it is alone now";
  EXPECT_NE((groups[{"web", "a"}]), (groups[{"mail", "a"}])) << "numbers of different runs are different";
}

TEST_F(JournalTest, OldRunsAreRemovedBeyondTheNumberToKeep) {
  for (const char* run : {"r1", "r2", "r3", "r4"}) record(state(), run, {{"web", run, "m1", 1}});
  EXPECT_EQ(prune_runs(state(), 4), 0u);
  EXPECT_EQ(prune_runs(state(), 2), 2u);
  EXPECT_THAT(list_runs(state()), ElementsAre("r3", "r4"));
}

// Without it release would make several files of what was one.
TEST_F(JournalTest, ARunWhoseLinkGroupsAreNeededStays) {
  record(state(), "r1", {{"web", "a", "m1", 1}, {"web", "b", "m1", 1}, {"web", "c", "m1", 1}});
  record(state(), "r2", {{"web", "x", "m2", 1}, {"web", "y", "m2", 1}});
  record(state(), "r3", {{"web", "c", "m3", 1}});                         // left the group of r1
  record(state(), "r4", {{"web", "x", "m4", 1}, {"web", "y", "m4", 1}});  // tells anew what r2 told
  record(state(), "r5", {{"web", "z", "m5", 1}});
  const auto before = known_link_groups(state()).size();
  EXPECT_EQ(prune_runs(state(), 0), 2u);
  EXPECT_THAT(list_runs(state()), ElementsAre("r1", "r3", "r4"));
  const auto groups = known_link_groups(state());
  EXPECT_EQ(groups.size(), before);
  EXPECT_FALSE(groups.contains({"web", "c"}));
  EXPECT_EQ(prune_runs(state(), 0), 0u);
}

// A power cut leaves the file of a run that had linked nothing yet empty or torn. That must not keep anybody
// from releasing.
TEST_F(JournalTest, ARunFileWithoutARecordIsPassedOver) {
  record(state(), "r1", {{"web", "a", "m1", 1}, {"web", "b", "m1", 1}});
  unit::write_file(dir_ / "runs/r2", "");
  unit::write_file(dir_ / "runs/r3", "VSR1 torn");
  EXPECT_THAT(known_link_groups(state()), SizeIs(2));
}

// Several runs in one second: run --each-pool.
TEST(RunIdTest, NoTwoAreTheSame) {
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) ids.insert(new_run_id());
  EXPECT_THAT(ids, SizeIs(100));
  for (const auto& id : ids) EXPECT_EQ(id.find('/'), std::string::npos);
}

}  // namespace
}  // namespace vs::unify
