// Which state NAME@TIME is, and that every verb says which one it took.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/backup/backup_host.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

using testing::HasSubstr;

class BackupStates : public testing::Test {
 protected:
  void SetUp() override {
    write_file(host_.tree("alpha") + "/file", "1");
    write_file(host_.tree("beta") + "/file", "1");
    for (int n = 0; n < 3; ++n) {
      write_file(host_.tree("alpha") + "/file", std::string(n + 1, 'x'));
      ASSERT_EQ(host_.create({"--full"}).exit_code, 0);
      stamps_.push_back(host_.last_stamp());
    }
  }
  // As a person writes it: 2026-11-24T03:00:00.
  static std::string apart(const std::string& s) {
    return s.substr(0, 4) + "-" + s.substr(4, 2) + "-" + s.substr(6, 2) + "T" + s.substr(9, 2) + ":" +
           s.substr(11, 2) + ":" + s.substr(13, 2);
  }
  bool has(const std::string& stamp) const {
    return std::filesystem::exists(host_.set() + "/alpha-full-" + stamp + ".tar.zst");
  }
  // Exit code 2, and nothing is gone.
  void expect_refused(const std::string& what, const std::string& why) const {
    const RunResult result = host_.vbackup("forget", {what});
    EXPECT_EQ(result.exit_code, 2) << what << result.out;
    EXPECT_THAT(result.err, HasSubstr(why)) << what;
    for (const auto& stamp : stamps_) EXPECT_TRUE(has(stamp)) << what;
  }
  BackupHost host_;
  std::vector<std::string> stamps_;
};

TEST_F(BackupStates, OnlyWhatIsNamedForCertainIsForgotten) {
  expect_refused("alpha@" + apart(stamps_[0]).substr(0, 10), "as well as");
  expect_refused("alpha@2020-1-4", "no backup of alpha is of 2020-1-4");
  expect_refused("alpha@2126-12-31", "no backup of alpha is of 2126-12-31");
  expect_refused("alpha@latest", "the newest backup of alpha");
  expect_refused("alpha@2026-13-40", "such as 2026-11-24");
  expect_refused("alpha@", "such as 2026-11-24");
  expect_refused("alpha@" + stamps_[2], "the newest backup of alpha");
  ASSERT_EQ(host_.vbackup("forget", {"alpha@" + apart(stamps_[1])}).exit_code, 0);
  EXPECT_TRUE(has(stamps_[0]) && !has(stamps_[1]) && has(stamps_[2]));
  ASSERT_EQ(host_.vbackup("forget", {"--even-newest", "alpha@" + stamps_[2]}).exit_code, 0);
  EXPECT_TRUE(has(stamps_[0]) && !has(stamps_[2]));
}

TEST_F(BackupStates, WhatIsProtectedIsNotForgotten) {
  EXPECT_EQ(host_.vbackup("protect", {"alpha@2020-01-04"}).exit_code, 2);
  EXPECT_EQ(host_.vbackup("protect", {"alpha"}).exit_code, 2) << "one backup is meant";
  ASSERT_EQ(host_.vbackup("protect", {"alpha@" + stamps_[0]}).exit_code, 0);
  EXPECT_THAT(host_.vbackup("list").out, HasSubstr(", protected"));
  expect_refused("alpha@" + stamps_[0], "is protected");
  ASSERT_EQ(host_.vbackup("forget", {"--keep-last", "1"}).exit_code, 0);
  EXPECT_TRUE(has(stamps_[0]) && !has(stamps_[1]) && has(stamps_[2]));
  ASSERT_EQ(host_.create().exit_code, 0) << "a run leaves the mark alone";
  ASSERT_EQ(host_.vbackup("protect", {"--off", "alpha@" + stamps_[0]}).exit_code, 0);
  ASSERT_EQ(host_.vbackup("forget", {"--keep-within", "0h"}).exit_code, 0);
  EXPECT_FALSE(has(stamps_[0]));
}

TEST_F(BackupStates, APartOfTheArchivesIsRead) {
  const auto read = [&](const std::string& part) {
    const RunResult result = host_.vbackup("check", {"--json", "--read-data-subset", part});
    EXPECT_EQ(result.exit_code, 0) << part << result.err;
    return summary_number(result, "archives_read");
  };
  const uint64_t all = summary_number(host_.vbackup("check", {"--json"}), "archives_read");
  EXPECT_EQ(read("1/3") + read("2/3") + read("3/3"), all);
  EXPECT_LT(read("10%"), all);
  EXPECT_EQ(read("100%"), all);
  for (const char* bad : {"0/3", "4/3", "3", "0%", "101%", "x/y"})
    EXPECT_EQ(host_.vbackup("check", {"--read-data-subset", bad}).exit_code, 2) << bad;
  EXPECT_THAT(host_.vbackup("check", {"--read-data-subset", "1/3"}).out,
              HasSubstr("what was read is as it was stored"));
}

TEST_F(BackupStates, EveryVerbSaysWhichOneItTook) {
  const std::string first = "alpha as of " + stamps_[0] + "\n", last = "alpha as of " + stamps_[2] + "\n";
  EXPECT_THAT(host_.vbackup("restore", {"--target", host_.scratch("r1"), "alpha@" + stamps_[0]}).out,
              HasSubstr(first));
  EXPECT_EQ(read_file(host_.scratch("r1") + "/alpha/file"), "x");
  EXPECT_THAT(host_.vbackup("restore", {"--target", host_.scratch("r2"), "--all"}).out, HasSubstr(last));
  EXPECT_THAT(host_.vbackup("restore", {"--target", host_.scratch("r3"), "--json", "alpha@latest"}).out,
              HasSubstr(R"({"type":"state","guest":"alpha","stamp":")" + stamps_[2] + "\"}"));
  EXPECT_THAT(host_.vbackup("show", {"alpha@" + apart(stamps_[0]) + ":file"}).out, HasSubstr(first));
  const std::string differences = host_.vbackup("diff", {"alpha@" + stamps_[0], "alpha"}).out;
  EXPECT_THAT(differences, testing::AllOf(HasSubstr(first), HasSubstr(last)));
  EXPECT_THAT(host_.vbackup("check", {"--rehearse", "--scratch", host_.scratch("c"), "alpha"}).out,
              HasSubstr(last));
}

TEST_F(BackupStates, ATimeThatIsNoneIsRefusedByEveryVerb) {
  for (const char* verb : {"restore", "show", "diff", "check"})
    for (const char* time : {"2026-13-40", "2026", "2026-01-04 25:00", ""}) {
      const RunResult result = host_.vbackup(verb, {"alpha@" + std::string(time)});
      EXPECT_EQ(result.exit_code, 2) << verb << " " << time;
    }
  const RunResult check = host_.vbackup("check", {"alpha@" + stamps_[0]});
  EXPECT_EQ(check.exit_code, 2) << "it reads all of them";
}

TEST_F(BackupStates, ASingleArchiveIsNoOlderStateThanItself) {
  ASSERT_EQ(host_.create({"--single", host_.scratch("one.tar.zst")}).exit_code, 0);
  const RunResult shown =
      run({vbackup_path(), "show", "--from", host_.scratch("one.tar.zst"), "alpha@2020-01-01"});
  EXPECT_EQ(shown.exit_code, 2) << shown.out;
}

}  // namespace
}  // namespace vs::test
