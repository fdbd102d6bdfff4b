#include "backup/freeze_delta.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "backup/archive_target.h"
#include "backup/restore.h"
#include "tests/support/temp_dir.h"

namespace vs::backup {
namespace {

// A guest that writes two files in step; frozen, both are the same.
class FakeFreezer : public GuestFreezer {
 public:
  explicit FakeFreezer(std::string tree) : tree_(std::move(tree)) {}
  Expected<std::unique_ptr<FrozenGuest>> freeze(const std::string& guest) override {
    if (guest == "stubborn") return Problem{ENOTSUP, "has no cgroup"};
    ++frozen_;
    test::write_file(tree_ + "/a", "in step");
    test::write_file(tree_ + "/b", "in step");
    struct Thaw : FrozenGuest {
      int& count;
      explicit Thaw(int& c) : count(c) {}
      ~Thaw() override { --count; }
    };
    return std::unique_ptr<FrozenGuest>(new Thaw(frozen_));
  }
  int frozen_ = 0;

 private:
  std::string tree_;
};

TEST(FreezeDeltaTest, AddsWhatChangedWhileTheGuestStandsStillAndThawsIt) {
  test::TempDir dir;
  test::write_file(dir / "tree/a", "torn");
  test::write_file(dir / "tree/b", "apart");
  std::filesystem::create_directories(dir / "other");
  Log log(Verbosity::quiet);
  Progress progress(log, ProgressMode::never);
  PhaseTimer timer;
  Cancel cancel;
  RunContext context{log, progress, timer, cancel, 2};
  CreateOptions options;
  options.state = dir / "state";
  const auto open_targets = [&] {
    auto target = std::make_unique<ArchiveTarget>(dir / "set", ArchiveOptions{});
    OpenedTargets opened;
    opened.last_stamp = target->last_stamp();
    opened.targets.push_back(std::move(target));
    return opened;
  };
  {
    auto opened = open_targets();
    std::vector<Guest> guests;
    guests.push_back({"guest", "--tree", RootDir(dir / "tree")});
    create_backup(std::move(guests), opened.targets, opened.last_stamp, options, context);
  }
  FakeFreezer freezer(dir / "tree");
  const auto results = freeze_delta({{"guest", dir / "tree"}, {"stubborn", dir / "other"}}, open_targets, freezer, options, context);
  ASSERT_EQ(results.size(), 2u);
  EXPECT_TRUE(results[0].frozen);
  EXPECT_EQ(freezer.frozen_, 0) << "still frozen";
  EXPECT_FALSE(results[1].frozen);
  EXPECT_THAT(results[1].why_not, testing::HasSubstr("no cgroup"));
  const ArchiveSet set(dir / "set", false);
  ASSERT_EQ(set.history("guest").size(), 2u);
  EXPECT_EQ(set.history("guest")[0].header.consistency, "live");
  EXPECT_EQ(set.history("guest")[1].header.consistency, "frozen");
  Source source(dir / "set");
  RestoreOptions restore_options;
  restore_options.target = dir / "out";
  restore(source, {{"guest", "", ""}}, restore_options, context);
  EXPECT_EQ(test::read_file(dir / "out/guest/a"), "in step");
  EXPECT_EQ(test::read_file(dir / "out/guest/b"), "in step");
}

}  // namespace
}  // namespace vs::backup
