// A restored host equals the source, for every stored time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/backup/backup_host.h"

namespace vs::test {
namespace {

using testing::HasSubstr;

class RoundTrip : public testing::Test {
 protected:
  static void run_all(const std::string& place) {
    BackupHost host(place);
    host.make_guests();
    std::vector<std::pair<std::string, Everything>> times;
    for (int round = 0; round <= 3; ++round) {
      if (round > 0) host.change(round);
      const RunResult result = host.create();
      ASSERT_EQ(result.exit_code, 0) << result.err;
      times.emplace_back(host.last_stamp(), everything_of(host.trees()));
      BackupHost::let_clock_pass();
    }
    for (size_t i = 0; i < times.size(); ++i) {
      const auto trees = host.restored("r" + std::to_string(i), times[i].first);
      EXPECT_EQ(difference(times[i].second, everything_of(trees)), "") << "as of round " << i;
    }
  }
};

TEST_F(RoundTrip, GivesBackEverythingAsOfEveryTime) {
  run_all("");
}

TEST(RestoreTest, NothingChangedReadsAndStoresNothing) {
  BackupHost host;
  host.make_guests();
  BackupHost::let_clock_pass();
  ASSERT_EQ(host.create().exit_code, 0);
  const RunResult again = host.create({"--json", "--verify-sample", "0"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("\"files_read\":0"));
  EXPECT_THAT(again.out, HasSubstr("\"objects_stored\":0"));
}

TEST(RestoreTest, OneFileOneDirectoryAndAnOlderTime) {
  BackupHost host;
  host.make_guests();
  ASSERT_EQ(host.create().exit_code, 0);
  const std::string first = host.last_stamp();
  host.change(1);
  ASSERT_EQ(host.create().exit_code, 0);
  const std::string target = host.scratch("out");
  const RunResult one = host.vbackup("restore", {"--target", target, "alpha@" + first + ":etc/two"});
  ASSERT_EQ(one.exit_code, 0) << one.err;
  EXPECT_EQ(read_file(target + "/alpha/etc/two"), "two\n");
  EXPECT_FALSE(std::filesystem::exists(target + "/alpha/etc/one"));
  const RunResult gone = host.vbackup("restore", {"--target", host.scratch("out2"), "alpha:etc/two"});
  EXPECT_EQ(gone.exit_code, 2);
  EXPECT_THAT(gone.err, HasSubstr("etc/two"));
  ASSERT_EQ(host.vbackup("restore", {"--target", host.scratch("out3"), "alpha:/usr/bin/"}).exit_code, 0);
  EXPECT_EQ(read_file(host.scratch("out3") + "/alpha/usr/bin/again"),
            read_file(host.tree("alpha") + "/usr/bin/program"));
}

TEST(RestoreTest, DryRunChangesNothing) {
  BackupHost host;
  host.make_guests();
  ASSERT_EQ(host.create().exit_code, 0);
  const RunResult result = host.vbackup("restore", {"--target", host.scratch("out"), "--all", "--dry-run"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("2 vservers would be restored"));
  EXPECT_FALSE(std::filesystem::exists(host.scratch("out")));
}

TEST(RestoreTest, RefusesADirectoryThatIsThere) {
  BackupHost host;
  host.make_guests();
  ASSERT_EQ(host.create().exit_code, 0);
  std::filesystem::create_directories(host.scratch("out/alpha"));
  const RunResult result = host.vbackup("restore", {"--target", host.scratch("out"), "--all"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("exists already"));
}

TEST(RestoreTest, ASingleArchiveHoldsAllOfIt) {
  BackupHost host;
  host.make_guests();
  const RunResult made = run({vbackup_path(), "create", "--single", host.scratch("one.tar.zst"), "--state",
                              host.scratch("state"), "--tree", "alpha=" + host.tree("alpha"), "--tree",
                              "beta=" + host.tree("beta")});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const std::string target = host.scratch("out");
  const RunResult result =
      run({vbackup_path(), "restore", "--from", host.scratch("one.tar.zst"), "--target", target, "--all"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(difference(everything_of(host.trees()),
                       everything_of({{"alpha", target + "/alpha"}, {"beta", target + "/beta"}})),
            "");
}

TEST(RestoreTest, ASingleArchiveIsListedComparedAndChecked) {
  BackupHost host;
  host.make_guests();
  const std::string file = host.scratch("one.tar.zst");
  ASSERT_EQ(run({vbackup_path(), "create", "--single", file, "--state", host.scratch("state"), "--tree",
                 "alpha=" + host.tree("alpha"), "--tree", "beta=" + host.tree("beta")})
                .exit_code,
            0);
  EXPECT_THAT(run({vbackup_path(), "list", "--from", file}).out,
              testing::AllOf(HasSubstr("alpha"), HasSubstr("beta"), HasSubstr("2 vservers")));
  EXPECT_THAT(run({vbackup_path(), "diff", "--from", file, "alpha", "beta"}).out, HasSubstr("- large\n"));
  const RunResult whole = run({vbackup_path(), "check", "--from", file});
  EXPECT_EQ(whole.exit_code, 0) << whole.out << whole.err;
  EXPECT_THAT(whole.out, HasSubstr("all is as it was stored"));
  std::string bytes = read_file(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file(file, bytes);
  const RunResult damaged = run({vbackup_path(), "check", "--from", file});
  EXPECT_EQ(damaged.exit_code, 1);
  EXPECT_THAT(damaged.out, HasSubstr("findings"));
}

TEST(RestoreTest, SeveralTargetsAreFedFromOneReading) {
  BackupHost host;
  host.make_guests();
  ASSERT_EQ(host.create().exit_code, 0);
  host.change(1);
  const RunResult both = host.create({"--to", "archive:" + host.scratch("second"), "--json"});
  ASSERT_EQ(both.exit_code, 0) << both.err;
  for (const std::string& set : {host.set(), host.scratch("second")}) {
    const std::string target = host.scratch("out-" + std::filesystem::path(set).filename().string());
    ASSERT_EQ(run({vbackup_path(), "restore", "--to", set, "--target", target, "--all"}).exit_code, 0);
    EXPECT_EQ(difference(everything_of(host.trees()),
                         everything_of({{"alpha", target + "/alpha"}, {"beta", target + "/beta"}})),
              "")
        << set;
  }
}

}  // namespace
}  // namespace vs::test
