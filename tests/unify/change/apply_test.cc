// Batches, journal and history of a whole apply. Real EMLINK, full disks and kill -9 are in tests/root and
// tests/crash.
#include "unify/change/apply.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tbb/global_control.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/unify/fixture.h"

namespace vs::unify {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

// Says of every guest what the test wants, and stops nobody.
class FakeFreezer : public GuestFreezer {
 public:
  explicit FakeFreezer(int refused) : refused_(refused) {}
  Result can_freeze(const Guest& guest) override {
    return refused_ == 0 ? Result(Ok{}) : Result(Problem{refused_, guest.name + " as the test says"});
  }
  Expected<std::unique_ptr<FrozenGuest>> freeze(const Guest& guest, std::chrono::milliseconds) override {
    frozen.push_back(guest.name);
    if (too_slow) return Problem{ETIMEDOUT, guest.name + " does not stand still"};
    return std::unique_ptr<FrozenGuest>(new Still);
  }
  std::vector<std::string> frozen;
  bool too_slow = false;

 private:
  struct Still : FrozenGuest {
    bool holds_still() const override { return true; }
  };
  int refused_;
};

class ApplyTest : public unit::HostTest {
 protected:
  std::vector<std::string> names() const override { return {"a", "b", "c"}; }
  ApplyResult apply(const std::string& run = "20261124T000000Z-1", GuestFreezer* freezer = nullptr) {
    const JournalRun journal = host().journal_run(run);
    return apply_plan({host().planned(), *host().store, *host().guard, host().masters, *host().index, journal,
                       host().state(), host().files.devices, false, freezer},
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

// --- Files that a program of b has open: usr/x0 to usr/x599, each with a name of its own
// --------------------

class ApplyInUseTest : public ApplyTest {
 protected:
  static constexpr uint64_t kFiles = 600;  // more than one pause takes
  void SetUp() override {
    ApplyTest::SetUp();
    if (IsSkipped()) return;
    for (uint64_t i = 0; i < kFiles; ++i) {
      host().everywhere("usr/x" + std::to_string(i), std::string(i + 1, 'x'));
      readers_.emplace_back(::open(path(i).c_str(), O_RDONLY | O_CLOEXEC));
    }
    host().plan();
  }
  std::string path(uint64_t i) { return host().path("b", "usr/x" + std::to_string(i)); }
  std::string open_as(uint64_t i) {
    return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(readers_[i].get()));
  }
  uint64_t left_running(const ApplyResult& result) {
    return result.skipped[GuestNumber(1)][static_cast<size_t>(Reason::running)];
  }
  std::vector<UniqueFd> readers_;
};

TEST_F(ApplyInUseTest, AreSharedWhileTheGuestStandsStillAndKeepTheirPaths) {
  FakeFreezer freezer(0);
  const auto result = apply("r1", &freezer);
  EXPECT_EQ(result.files_linked, 3 * kFiles);
  EXPECT_EQ(left_running(result), 0u);
  EXPECT_THAT(freezer.frozen, testing::AllOf(SizeIs(3), testing::Each("b"))) << "256 names a pause";
  EXPECT_EQ(open_as(7), path(7) + " (deleted)");
  EXPECT_EQ(result.bytes_held, kFiles * 4096);
  EXPECT_EQ(result.bytes_saved, kFiles * 4096) << "of a and c, less the masters";
  EXPECT_THAT(read_run(host().state(), "r1").steps, SizeIs(3 * kFiles));
  expect_tidy();
}

TEST_F(ApplyInUseTest, AreLeftWhereItCannotStandStill) {
  FakeFreezer impossible(ENOTSUP), slow(0);
  slow.too_slow = true;
  for (GuestFreezer* freezer : {static_cast<GuestFreezer*>(nullptr), static_cast<GuestFreezer*>(&impossible),
                                static_cast<GuestFreezer*>(&slow)}) {
    host().plan();
    const auto result = apply("r1", freezer);
    EXPECT_EQ(left_running(result), kFiles);
    EXPECT_EQ(open_as(7), path(7));
    EXPECT_FALSE(unit::is_sealed(path(7)));
    expect_tidy();
  }
  EXPECT_THAT(slow.frozen, SizeIs(1)) << "who does not stand still is not waited for again and again";
  EXPECT_THAT(impossible.frozen, IsEmpty())
      << "who cannot be frozen is not tried, and nothing compared for it";
}

TEST_F(ApplyInUseTest, AreSharedAsOthersWhereNobodyRunsInTheGuest) {
  FakeFreezer freezer(ESRCH);
  EXPECT_EQ(apply("r1", &freezer).files_linked, 3 * kFiles);
  EXPECT_THAT(freezer.frozen, IsEmpty());
  expect_tidy();
}

// Two files of one content in one guest: one pause takes each master once.
TEST_F(ApplyTest, EqualFilesInUseAreAllShared) {
  host().everywhere("usr/x", "same");
  host().everywhere("usr/y", "same");
  host().plan();
  std::vector<UniqueFd> readers;
  for (const char* name : {"usr/x", "usr/y"})
    readers.emplace_back(::open(host().path("b", name).c_str(), O_RDONLY | O_CLOEXEC));
  FakeFreezer freezer(0);
  EXPECT_EQ(apply("r1", &freezer).files_linked, 6u);
  EXPECT_THAT(freezer.frozen, SizeIs(2));
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
