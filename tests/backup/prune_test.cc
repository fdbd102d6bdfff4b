// Pool archives that are partly dead: what is left of them is the same, only smaller.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/backup/backup_host.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class PruneTest : public testing::Test {
 protected:
  // Ten shared files of 1 MB and one of 7 MB with holes, of which one MB and the large one stay.
  void SetUp() override {
    must_run({"bash", "-c",
              "mkdir -p '" + host_.tree("alpha") + "' '" + host_.tree("beta") + "'; cd '" +
                  host_.tree("alpha") +
                  "'; for i in $(seq 10); do head -c 1000000 /dev/urandom > $i; ln $i ../beta/$i; done; "
                  "truncate -s 7000000 z; head -c 5000000 /dev/urandom | dd of=z bs=1M seek=1 conv=notrunc "
                  "status=none; ln z ../beta/z; "
                  "setfattr -n user.test -v value z"});
    ASSERT_EQ(host_.create().exit_code, 0);
    must_run({"bash", "-c",
              "cd '" + host_.tree("alpha") + "'; for i in 1 2 3 4 6 7 8 9 10; do rm $i ../beta/$i; done"});
    ASSERT_EQ(host_.create({"--full"}).exit_code, 0);
    ASSERT_EQ(host_.vbackup("forget", {"--keep-last", "1"}).exit_code, 0);
  }
  uintmax_t pool_size(int number) const {
    const std::string file = host_.set() + "/pool-" + std::to_string(number) + ".tar.zst";
    return fs::exists(file) ? fs::file_size(file) : 0;
  }
  void expect_whole() {
    EXPECT_EQ(host_.vbackup("check").exit_code, 0);
    EXPECT_EQ(difference(everything_of(host_.trees()),
                         everything_of(host_.restored("r" + std::to_string(++restored_)))),
              "");
  }
  BackupHost host_;
  int restored_ = 0;
};

TEST_F(PruneTest, WritesWhatIsMostlyDeadAgainWithoutThat) {
  const auto before = pool_size(1);
  EXPECT_THAT(host_.vbackup("prune", {"--dry-run"}).out, HasSubstr("rewrite  pool-1"));
  EXPECT_EQ(pool_size(1), before);
  const RunResult result = host_.vbackup("prune", {"--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(summary_number(result, "pool_archives_rewritten"), 1u);
  EXPECT_EQ(pool_size(1), 0u);
  EXPECT_GT(pool_size(2), 5'900'000u);
  EXPECT_LT(pool_size(2), 6'200'000u);
  EXPECT_NEAR(static_cast<double>(summary_number(result, "bytes_freed")),
              static_cast<double>(before - pool_size(2)), 1.0);
  expect_whole();
  // Plain tar finds the members where the guest's archive links to.
  must_run({"bash", "-c",
            "mkdir '" + host_.scratch("tar") + "' && cd '" + host_.scratch("tar") +
                "' && for f in ../set/pool-*.zst ../set/alpha-full-*.zst; do tar --zstd -xf $f; done && cmp "
                "alpha/z '" +
                host_.tree("alpha") + "/z'"});
  // And the next run knows them.
  const RunResult again = host_.create({"--json"});
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_EQ(pool_size(3), 0u);
  EXPECT_EQ(summary_number(host_.vbackup("prune", {"--json"}), "pool_archives_rewritten"), 0u);
}

TEST_F(PruneTest, LeavesWhatIsNotDeadEnough) {
  for (const char* percent : {"100", "70"})
    EXPECT_EQ(
        summary_number(host_.vbackup("prune", {"--json", "--most-dead", percent}), "pool_archives_rewritten"),
        0u);
  EXPECT_GT(pool_size(1), 0u);
}

TEST_F(PruneTest, AKillBetweenNewAndOldLeavesBothAndTheNextRunRemovesTheOld) {
  fs::create_directories(host_.scratch("aside"));
  for (const char* suffix : {".tar.zst", ".catalog"})
    fs::copy_file(host_.set() + "/pool-1" + suffix, host_.scratch("aside") + "/pool-1" + suffix);
  ASSERT_EQ(host_.vbackup("prune").exit_code, 0);
  for (const char* suffix : {".tar.zst", ".catalog"})
    fs::copy_file(host_.scratch("aside") + "/pool-1" + suffix, host_.set() + "/pool-1" + suffix);
  expect_whole();
  const RunResult result = host_.vbackup("prune", {"--json"});
  EXPECT_EQ(summary_number(result, "pool_archives_removed"), 1u) << result.out;
  EXPECT_EQ(pool_size(1), 0u);
  EXPECT_GT(pool_size(2), 0u);
  expect_whole();
}

TEST_F(PruneTest, ADamagedArchiveStaysAsItIs) {
  const std::string file = host_.set() + "/pool-1.tar.zst";
  must_run({"bash", "-c",
            "printf damage | dd of='" + file + "' bs=1 seek=$(($(stat -c %s '" + file +
                "') - 2000000)) conv=notrunc status=none"});
  const auto before = read_file(file);
  const RunResult result = host_.vbackup("prune");
  EXPECT_EQ(result.exit_code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("stays as it is"));
  EXPECT_EQ(read_file(file), before);
  for (const auto& entry : fs::directory_iterator(host_.set()))
    EXPECT_FALSE(entry.path().filename().string().starts_with(".vbackup-"));
}

}  // namespace
}  // namespace vs::test
