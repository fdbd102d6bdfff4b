// What a night does after its archives: old ones are forgotten by the rules, where the run was no failed one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/backup/backup_host.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class NightTest : public testing::Test {
 protected:
  NightTest() { host_.make_guests(); }
  // A run into both sets; each begins a chain, so that no archive is needed by another.
  RunResult night(const Command& more = {}) const {
    Command all = {"--full", "--to", other_set()};
    all.insert(all.end(), more.begin(), more.end());
    return host_.create(all);
  }
  std::string other_set() const { return host_.scratch("other"); }
  // They hold sealed files.
  void take_trees_away() const {
    for (const auto& [name, tree] : host_.trees()) fs::rename(tree, host_.scratch(name));
  }
  static size_t archives(const std::string& set, const std::string& kind) {
    size_t count = 0;
    for (const auto& file : fs::directory_iterator(set)) {
      const std::string name = file.path().filename();
      count += name.starts_with(kind) && name.ends_with(".tar.zst") ? 1 : 0;
    }
    return count;
  }
  BackupHost host_;
};

TEST_F(NightTest, ForgetsByTheRulesInEachSet) {
  ASSERT_EQ(night().exit_code, 0);
  const RunResult result = night({"--forget", "--keep-last", "1", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(summary_number(result, "forgotten"), 4u);  // two vservers in two sets
  for (const auto& set : {host_.set(), other_set()}) {
    EXPECT_EQ(archives(set, "alpha-full"), 1u);
    EXPECT_EQ(archives(set, "beta-full"), 1u);
    EXPECT_EQ(run({vbackup_path(), "check", "--to", set}).exit_code, 0);
  }
}

TEST_F(NightTest, PrunesWhatNothingRefersToAnyMore) {
  ASSERT_EQ(night().exit_code, 0);
  ASSERT_EQ(archives(host_.set(), "pool-"), 1u);
  take_trees_away();
  for (const auto& [name, tree] : host_.trees()) fs::create_directory(tree);
  ASSERT_EQ(night({"--forget", "--keep-last", "1"}).exit_code, 0);
  EXPECT_EQ(archives(host_.set(), "pool-"), 0u);
}

TEST_F(NightTest, WithoutARuleOrWithoutTheOptionAllStays) {
  ASSERT_EQ(night().exit_code, 0);
  ASSERT_EQ(night({"--forget"}).exit_code, 0);
  ASSERT_EQ(night({"--keep-last", "1"}).exit_code, 0);
  EXPECT_EQ(archives(host_.set(), "alpha-full"), 3u);
}

// Whatever a guest does can make a run end with 3; that must not fill the disk of the archives.
TEST_F(NightTest, ForgetsAlsoWhereAVserverIsMissingAndTakesNothingOfThatOne) {
  ASSERT_EQ(night().exit_code, 0);
  ASSERT_EQ(night().exit_code, 0);
  fs::rename(host_.tree("beta"), host_.scratch("beta"));
  const RunResult result = night({"--forget", "--keep-last", "2"});
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_EQ(archives(host_.set(), "alpha-full"), 2u);
  EXPECT_EQ(archives(host_.set(), "beta-full"), 2u);
}

TEST_F(NightTest, AfterARunWithNothingToArchiveAllStays) {
  ASSERT_EQ(night().exit_code, 0);
  ASSERT_EQ(night().exit_code, 0);
  take_trees_away();
  EXPECT_EQ(night({"--forget", "--keep-last", "1"}).exit_code, 1);
  EXPECT_EQ(archives(host_.set(), "alpha-full"), 2u);
}

TEST_F(NightTest, ASetThatWasLeftOutIsLeftAsItIs) {
  ASSERT_EQ(night().exit_code, 0);
  ASSERT_EQ(night().exit_code, 0);
  fs::rename(other_set() + "/vbackup.set", host_.scratch("id"));
  std::ofstream(other_set() + "/vbackup.set") << "vbackup archive set 9\n";  // of a later version
  const RunResult result = night({"--forget", "--keep-last", "1"});
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_EQ(archives(host_.set(), "alpha-full"), 1u);
  EXPECT_EQ(archives(other_set(), "alpha-full"), 2u);
}

TEST_F(NightTest, WhatCannotBeForgottenIsNamedAndTheArchivesStand) {
  ASSERT_EQ(night().exit_code, 0);
  // Without this catalog nobody knows what can be pruned.
  std::ofstream(other_set() + "/pool-1.catalog", std::ios::trunc) << "torn";
  const RunResult result = night({"--forget", "--keep-last", "1"});
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("not all that is old could be removed"));
  EXPECT_EQ(archives(host_.set(), "alpha-full"), 1u);
  EXPECT_EQ(archives(other_set(), "alpha-full"), 1u);
  EXPECT_EQ(archives(other_set(), "pool-"), archives(host_.set(), "pool-"));
}

}  // namespace
}  // namespace vs::test
