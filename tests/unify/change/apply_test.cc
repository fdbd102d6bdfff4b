// Batches, journal and history of a whole apply. Real EMLINK, full disks and kill -9 are in tests/root and
// tests/crash.
#include "unify/change/apply.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tbb/global_control.h>

#include <chrono>
#include <thread>

#include "tests/unify/fixture.h"

namespace vs::unify {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

class ApplyTest : public unit::HostTest {
 protected:
  std::vector<std::string> names() const override { return {"a", "b", "c"}; }
  ApplyResult apply(const std::string& run = "20261124T000000Z-1") {
    const JournalRun journal = host().journal_run(run);
    return apply_plan({host().planned(), *host().store, *host().guard, host().masters, *host().index, journal,
                       host().state(), host().files.devices, false},
                      host().context.run);
  }
  void expect_tidy() {
    EXPECT_THAT(host().staging(), IsEmpty());
    EXPECT_THAT(host().lost(), IsEmpty());
    EXPECT_FALSE(read_journal(host().state() + "/journal"));
    for (const auto& stored : host().store->list_masters())
      EXPECT_TRUE(unit::is_sealed(host().master_path(stored.name)));
  }
};

TEST_F(ApplyTest, DoesThePlanAndRemembersWhatItDid) {
  host().everywhere("usr/x", "same");
  host().link("a", "usr/x", "usr/y");
  host().plan();
  const auto result = apply("r1");
  EXPECT_EQ(result.files_linked, 4u);
  EXPECT_EQ(result.masters_made, 1u);
  EXPECT_EQ(result.bytes_saved, 2 * 4096u);
  EXPECT_TRUE(host().shared("usr/x"));
  EXPECT_THAT(read_run(host().state(), "r1").steps, SizeIs(4));
  EXPECT_THAT(known_link_groups(host().state()), SizeIs(2));
  EXPECT_THAT(host().index->masters(host().store->id()), SizeIs(1));
  expect_tidy();
}

TEST_F(ApplyTest, CountsWhatWasRefusedForItsGuest) {
  host().everywhere("usr/x", "same");
  host().plan();
  const UniqueFd writer(::open(host().path("b", "usr/x").c_str(), O_WRONLY | O_CLOEXEC));
  const auto result = apply();
  EXPECT_EQ(result.files_linked, 2u);
  EXPECT_EQ(result.skipped[GuestNumber(1)][static_cast<size_t>(Reason::busy)], 1u);
  expect_tidy();
}

// More names than one batch takes, of one group and of many: one master is enough.
TEST_F(ApplyTest, CutsLargeGroupsIntoBatches) {
  for (int i = 0; i < 5000; ++i)
    host().file("a", "d" + std::to_string(i % 7) + "/f" + std::to_string(i),
                i % 10 == 0 ? "other content" : "same");
  host().plan();
  const auto result = apply();
  EXPECT_EQ(result.files_linked, 5000u);
  EXPECT_EQ(result.masters_made, 2u);
  expect_tidy();
}

// In scope `all` contents of one size and class have one key; each goes on with its own master.
TEST_F(ApplyTest, ContentsOfOneClassKeepTheirMasters) {
  for (const std::string content : {"AAAA", "BBBB", "CCCC"})
    for (const char* guest : {"a", "b"}) host().file(guest, "usr/" + content, content);
  host().plan();
  EXPECT_EQ(apply("r1").masters_made, 3u);
  for (const std::string content : {"AAAA", "BBBB", "CCCC"}) host().file("c", "usr/" + content, content);
  host().plan();
  const auto second = apply("r2");
  EXPECT_EQ(second.files_linked, 3u) << "a guest that comes later finds all three";
  EXPECT_EQ(second.masters_made, 0u);
  for (const std::string content : {"AAAA", "BBBB", "CCCC"})
    EXPECT_TRUE(host().shared("usr/" + content)) << content;
  expect_tidy();
}

TEST_F(ApplyTest, ARetiredMasterIsFollowedByAFreshOne) {
  for (const char* guest : {"a", "b"}) host().file(guest, "usr/x", "same");
  host().plan();
  apply("r1");
  host().masters.retire(MasterNumber(0));  // as when the filesystem allows no more links
  for (const char* guest : {"c"}) {
    host().file(guest, "usr/x", "same");
    host().file(guest, "usr/y", "same");
  }
  host().plan();
  EXPECT_EQ(apply("r2").masters_made, 1u);
  EXPECT_EQ(host().ino("c", "usr/x"), host().ino("c", "usr/y"));
  EXPECT_NE(host().ino("c", "usr/x"), host().ino("a", "usr/x"));
  expect_tidy();
}

TEST_F(ApplyTest, StopsBetweenBatchesWhenCancelledAndSaysSo) {
  host().everywhere("usr/x", "same");
  host().plan();
  host().context.cancel.request();
  const auto result = apply();
  EXPECT_EQ(result.files_linked, 0u);
  EXPECT_EQ(result.skipped.front()[static_cast<size_t>(Reason::out_of_time)], 1u);
  EXPECT_FALSE(host().shared("usr/x"));
  expect_tidy();
}

TEST_F(ApplyTest, ARunThatIsStoppedRemembersWhatItVerified) {
  host().everywhere("usr/x", "same");
  std::this_thread::sleep_for(std::chrono::nanoseconds(kRacyNs + 200'000'000));
  host().plan();
  host().context.cancel.request();
  apply();
  for (const auto& row : host().files.table.rows())
    EXPECT_EQ(host().index->known(host().files.devices.front(), row)->content, xxh128("same"));
}

TEST_F(ApplyTest, RefusesToBeginWhileAnOldRunIsUnfinished) {
  host().everywhere("usr/x", "same");
  host().plan();
  { Journal killed(host().state() + "/journal", host().journal_run("old")); }
  EXPECT_THROW(apply(), Error);
  EXPECT_FALSE(host().shared("usr/x"));
}

TEST_F(ApplyTest, ComesToTheSameEndWithAnyNumberOfThreads) {
  for (const size_t threads : {1, 2, 8}) {
    unit::Host fresh({"a", "b"});
    for (size_t i = 0; i < 200; ++i) fresh.everywhere("f" + std::to_string(i), std::string(i + 1, 'x'));
    fresh.plan();
    const JournalRun journal = fresh.journal_run();
    tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads);
    const auto result = apply_plan({fresh.planned(), *fresh.store, *fresh.guard, fresh.masters, *fresh.index,
                                    journal, fresh.state(), fresh.files.devices, false},
                                   fresh.context.run);
    EXPECT_EQ(result.files_linked, 400u) << threads;
    EXPECT_EQ(result.masters_made, 200u) << threads;
  }
}

}  // namespace
}  // namespace vs::unify
