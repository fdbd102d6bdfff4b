// What a night tells the monitoring: how old the backups are that there are, also when it failed.
#include "backup/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "tests/backup/backup_host.h"
#include "tests/support/skip.h"
#include "tests/support/test_host.h"

namespace vs::backup {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

RunMetrics sample_metrics(const std::string& name) {
  RunMetrics run{3, 1795499507, 1.5, 2, 430'000'000, 476'000'000, 1, 0, 1, {}};
  run.sets.push_back({"archive:/backup/" + name, true, 1000, {{name, 1795499507, 2, 300}, {"b", 0, 1, 5}}});
  run.sets.push_back({"archive:/gone", false, 0, {}});
  return run;
}

TEST(MetricsTest, SayHowOldTheBackupsOfEachGuestInEachTargetAre) {
  const std::string text = run_prometheus(sample_metrics("web"));
  EXPECT_THAT(text, HasSubstr("vbackup_last_run_exit_status 3\n"));
  EXPECT_THAT(text, HasSubstr("vbackup_target_readable{target=\"archive:/backup/web\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("vbackup_target_readable{target=\"archive:/gone\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("vbackup_guest_last_backup_timestamp_seconds{target=\"archive:/backup/web\","
                              "guest=\"web\"} 1795499507\n"));
  EXPECT_THAT(text,
              HasSubstr("vbackup_guest_stored_bytes{target=\"archive:/backup/web\",guest=\"web\"} 300\n"));
}

TEST(MetricsTest, PromtoolAcceptsThem) {
  VS_NEEDS_PROGRAM("promtool", "prometheus");
  for (const RunMetrics& run : {RunMetrics{}, sample_metrics("web"), sample_metrics("a\"b\\c\nd\xff}")}) {
    FILE* promtool = ::popen("promtool check metrics", "w");
    ASSERT_NE(promtool, nullptr);
    std::fputs(run_prometheus(run).c_str(), promtool);
    EXPECT_EQ(::pclose(promtool), 0) << run_prometheus(run);
  }
}

class MetricsFileTest : public testing::Test {
 protected:
  MetricsFileTest() { host_.make_guests(); }
  test::RunResult night(const test::Command& more = {}) const {
    test::Command all = {"--prometheus", file_};
    all.insert(all.end(), more.begin(), more.end());
    return host_.create(all);
  }
  std::string text() const { return test::read_file(file_); }
  static std::string age_of(const std::string& text, const std::string& guest) {
    const size_t at = text.find("guest=\"" + guest + "\"} ", text.find("guest_last_backup"));
    return at == std::string::npos ? "" : text.substr(at, text.find('\n', at) - at);
  }
  test::BackupHost host_;
  std::string file_ = host_.scratch("vbackup.prom");
};

TEST_F(MetricsFileTest, IsReadableForAnyoneWhateverTheUmask) {
  const mode_t before = ::umask(077);
  const auto result = night();
  ::umask(before);
  ASSERT_EQ(result.exit_code, 0) << result.err;
  struct stat stat {};
  ASSERT_EQ(::stat(file_.c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 07777u, 0644u);
  EXPECT_FALSE(fs::exists(file_ + ".new"));
}

TEST_F(MetricsFileTest, AFailedNightIsToldAndTheAgesAreThoseOfWhatIsStored) {
  ASSERT_EQ(night().exit_code, 0);
  const std::string good = text();
  EXPECT_THAT(good, HasSubstr("vbackup_last_run_exit_status 0\n"));
  EXPECT_THAT(age_of(good, "alpha"), HasSubstr("} 1"));
  for (const auto& [name, tree] : host_.trees()) fs::rename(tree, host_.scratch(name));
  EXPECT_EQ(night().exit_code, 1);
  EXPECT_THAT(text(), HasSubstr("vbackup_last_run_exit_status 1\n"));
  EXPECT_EQ(age_of(text(), "alpha"), age_of(good, "alpha"));
}

TEST_F(MetricsFileTest, AMissingTreeAndAMissingTargetAreTold) {
  ASSERT_EQ(night().exit_code, 0);
  const std::string before = age_of(text(), "beta");
  fs::rename(host_.tree("beta"), host_.scratch("beta"));
  host_.let_clock_pass();
  const std::string blocked = host_.scratch("file");
  test::write_file(blocked, "no directory");
  EXPECT_EQ(night({"--to", blocked + "/set"}).exit_code, 3);
  EXPECT_THAT(text(), HasSubstr("vbackup_last_run_exit_status 3\n"));
  EXPECT_THAT(text(), HasSubstr("vbackup_last_run_failed_targets 1\n"));
  EXPECT_THAT(text(), HasSubstr("vbackup_target_readable{target=\"" + blocked + "/set\"} 0\n"));
  EXPECT_EQ(age_of(text(), "beta"), before);
  EXPECT_NE(age_of(text(), "alpha"), before);
}

TEST_F(MetricsFileTest, AChainWithAHoleIsAsOldAsWhatCanBeRestored) {
  ASSERT_EQ(night().exit_code, 0);
  const std::string first = age_of(text(), "alpha");
  for (int round = 1; round <= 2; ++round) {
    host_.let_clock_pass();
    host_.change(round);
    ASSERT_EQ(night().exit_code, 0);
  }
  EXPECT_NE(age_of(text(), "alpha"), first);
  std::vector<std::string> increments;
  for (const auto& one : fs::directory_iterator(host_.set()))
    if (one.path().filename().string().starts_with("alpha-inc-")) increments.push_back(one.path());
  std::sort(increments.begin(), increments.end());
  ASSERT_EQ(increments.size(), 4u);  // two nights, each an archive and its catalog
  fs::remove(increments[0]);
  fs::remove(increments[1]);
  EXPECT_EQ(set_metrics("x", host_.set()).guests.at(0).backups, 2u);
  const auto guests = set_metrics("x", host_.set()).guests;
  EXPECT_THAT(first, HasSubstr("} " + std::to_string(guests.at(0).last_backup)));
}

TEST_F(MetricsFileTest, AFileThatCannotBeWrittenIsNamed) {
  file_ = host_.scratch("not-there") + "/vbackup.prom";
  const auto result = night();
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("--prometheus"));
  EXPECT_EQ(host_.vbackup("check").exit_code, 0);
}

TEST_F(MetricsFileTest, ADryRunLeavesItAlone) {
  ASSERT_EQ(night({"--dry-run"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(file_));
}

}  // namespace
}  // namespace vs::backup
