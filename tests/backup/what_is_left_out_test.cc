// What people say shall not be stored, and what of it is left: --exclude and its relatives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/backup/backup_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class ExclusionTest : public testing::Test {
 protected:
  ExclusionTest() {
    for (const char* guest : {"alpha", "beta"}) {
      write_file(host_.tree(guest) + "/var/cache/big", "can be made again");
      write_file(host_.tree(guest) + "/var/log/old.log", "a log");
      write_file(host_.tree(guest) + "/etc/keep", "is kept");
    }
  }
  // What of alpha is there after a night with these options.
  std::string restored(const Command& options) {
    const RunResult result = host_.create(options);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    warnings_ = result.err;
    return host_.restored("r" + std::to_string(++rounds_))["alpha"];
  }
  BackupHost host_;
  std::string warnings_;
  int rounds_ = 0;
};

TEST_F(ExclusionTest, GlobsOfAFileAndWhatFitsNothingIsSaid) {
  write_file(host_.scratch("globs"), "# what can be made again\n\nvar/cache/*\r\n*.log\n/nowhere/at/all/\n");
  const std::string tree = restored({"--exclude-from", host_.scratch("globs"), "--exclude", "etc/gone"});
  EXPECT_TRUE(fs::is_empty(tree + "/var/cache"));
  EXPECT_TRUE(fs::is_empty(tree + "/var/log"));
  EXPECT_EQ(read_file(tree + "/etc/keep"), "is kept");
  EXPECT_THAT(warnings_, HasSubstr("--exclude /nowhere/at/all/ fits nothing"));
  EXPECT_THAT(warnings_, HasSubstr("--exclude etc/gone fits nothing"));
  EXPECT_THAT(warnings_, Not(HasSubstr("*.log fits")));
}

TEST_F(ExclusionTest, AFileOfGlobsThatIsNotThereEndsTheRun) {
  const RunResult result = host_.create({"--exclude-from", host_.scratch("none")});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr(host_.scratch("none")));
  EXPECT_THAT(host_.create({"--exclude", ""}).err, HasSubstr("expected a path or a pattern"));
}

TEST_F(ExclusionTest, ACacheIsKnownByItsTagOnly) {
  const std::string tag = "Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n";
  write_file(host_.tree("alpha") + "/var/cache/CACHEDIR.TAG", tag);
  write_file(host_.tree("alpha") + "/etc/CACHEDIR.TAG", "not that signature");
  fs::create_symlink("/var/cache/CACHEDIR.TAG", host_.tree("alpha") + "/var/log/CACHEDIR.TAG");
  EXPECT_TRUE(fs::exists(restored({}) + "/var/cache/big"));
  const std::string tree = restored({"--exclude-caches"});
  EXPECT_EQ(read_file(tree + "/var/cache/CACHEDIR.TAG"), tag);
  EXPECT_FALSE(fs::exists(tree + "/var/cache/big"));
  EXPECT_TRUE(fs::exists(tree + "/etc/keep") && fs::exists(tree + "/var/log/old.log"));
}

TEST_F(ExclusionTest, ANameByWhichTheRestIsLeftOut) {
  write_file(host_.tree("alpha") + "/var/cache/.nobackup", "");
  const std::string tree = restored({"--exclude-if-present", ".nobackup"});
  EXPECT_TRUE(fs::exists(tree + "/var/cache/.nobackup"));
  EXPECT_FALSE(fs::exists(tree + "/var/cache/big"));
  EXPECT_EQ(host_.create({"--exclude-if-present", "a/b"}).exit_code, 2);
}

TEST_F(ExclusionTest, AVserver) {
  const RunResult result = host_.create({"--exclude-guest", "beta", "--exclude-guest", "gamma"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("--exclude-guest gamma leaves nobody out"));
  const std::string list = host_.vbackup("list").out;
  EXPECT_THAT(list, HasSubstr("alpha"));
  EXPECT_THAT(list, Not(HasSubstr("beta")));
}

}  // namespace
}  // namespace vs::test
