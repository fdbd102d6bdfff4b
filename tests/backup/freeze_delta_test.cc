#include "backup/freeze_delta.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <thread>

#include "backup/archive/set_target.h"
#include "backup/restore/restore.h"
#include "tests/backup/quiet_run.h"
#include "tests/support/temp_dir.h"

namespace vs::backup {
namespace {

// A guest that writes two files in step; frozen, both are the same.
class FakeFreezer : public GuestFreezer {
 public:
  explicit FakeFreezer(std::string tree) : tree_(std::move(tree)) {}
  Result can_freeze(const Guest&) override { return Ok{}; }
  Expected<std::unique_ptr<FrozenGuest>> freeze(const Guest& guest, std::chrono::milliseconds) override {
    if (guest.name == "stubborn") return Problem{ENOTSUP, "has no cgroup"};
    if (guest.name == "stopped") return Problem{ESRCH, "no process"};
    ++frozen_;
    test::write_file(tree_ + "/a", "in step");
    test::write_file(tree_ + "/b", "in step");
    struct Thaw : FrozenGuest {
      int& count;
      bool holds;
      Thaw(int& c, bool h) : count(c), holds(h) {}
      ~Thaw() override { --count; }
      bool holds_still() const override { return holds; }
    };
    return std::unique_ptr<FrozenGuest>(new Thaw(frozen_, holds_));
  }
  int frozen_ = 0;
  bool holds_ = true;

 private:
  std::string tree_;
};

class FreezeDeltaTest : public testing::Test, protected test::QuietRun {
 protected:
  FreezeDeltaTest() {
    test::write_file(dir_ / "tree/a", "torn");
    test::write_file(dir_ / "tree/b", "apart");
    std::filesystem::create_directories(dir_ / "other");
    options_.state = dir_ / "state";
    freeze_.open_targets = [this](const std::string& guest) {
      auto target = std::make_unique<SetTarget>(dir_ / "set", ArchiveOptions{.init = true});
      OpenedTargets opened;
      opened.last_stamp = target->last_stamp_of(guest);
      opened.targets.push_back(std::move(target));
      return opened;
    };
    auto opened = freeze_.open_targets("guest");
    std::vector<Guest> guests;
    guests.push_back({"guest", "--tree", RootDir(dir_ / "tree")});
    create_backup(std::move(guests), opened.targets, opened.last_stamp, options_, context_);
  }
  std::vector<std::string> consistencies() const {
    std::vector<std::string> all;
    for (const auto& archive : ArchiveSet(dir_ / "set").history("guest"))
      all.push_back(archive.header.consistency);
    return all;
  }

  test::TempDir dir_;
  CreateOptions options_;
  FreezeOptions freeze_;
};

TEST_F(FreezeDeltaTest, AddsWhatChangedWhileTheGuestStandsStillAndThawsIt) {
  FakeFreezer freezer(dir_ / "tree");
  const auto results =
      freeze_delta({{"guest", dir_ / "tree"}, {"stubborn", dir_ / "other"}, {"stopped", dir_ / "other"}},
                   freeze_, freezer, options_, context_);
  ASSERT_EQ(results.size(), 3u);
  EXPECT_TRUE(results[0].frozen);
  EXPECT_EQ(freezer.frozen_, 0) << "still frozen";
  EXPECT_FALSE(results[1].frozen);
  EXPECT_THAT(results[1].why_not, testing::HasSubstr("no cgroup"));
  EXPECT_TRUE(results[1].running);
  EXPECT_FALSE(results[2].running);
  EXPECT_THAT(consistencies(), testing::ElementsAre("live", "frozen"));
  StoredBackups backups(dir_ / "set");
  RestoreOptions restore_options;
  restore_options.target = dir_ / "out";
  restore(backups, {{"guest", {}, ""}}, restore_options, context_);
  EXPECT_EQ(test::read_file(dir_ / "out/guest/a"), "in step");
  EXPECT_EQ(test::read_file(dir_ / "out/guest/b"), "in step");
}

TEST_F(FreezeDeltaTest, AGuestThatSomebodyThawedMeanwhileKeepsItsLiveArchiveOnly) {
  FakeFreezer freezer(dir_ / "tree");
  freezer.holds_ = false;
  const auto results = freeze_delta({{"guest", dir_ / "tree"}}, freeze_, freezer, options_, context_);
  EXPECT_FALSE(results[0].frozen);
  EXPECT_THAT(results[0].why_not, testing::HasSubstr("run on"));
  EXPECT_EQ(freezer.frozen_, 0);
  EXPECT_THAT(consistencies(), testing::ElementsAre("live"));
}

TEST_F(FreezeDeltaTest, AGuestIsNotHeldForLongerThanTheBudget) {
  FakeFreezer freezer(dir_ / "tree");
  freeze_.budget = std::chrono::milliseconds(0);
  const auto results = freeze_delta({{"guest", dir_ / "tree"}}, freeze_, freezer, options_, context_);
  EXPECT_FALSE(results[0].frozen);
  EXPECT_THAT(results[0].why_not, testing::HasSubstr("within 0.0 s"));
  EXPECT_EQ(freezer.frozen_, 0);
  EXPECT_THAT(consistencies(), testing::ElementsAre("live"));
}

}  // namespace
}  // namespace vs::backup
