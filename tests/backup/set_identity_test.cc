// What a directory is as an archive set: none yet, one that lost the file which says so, one that cannot be
// written to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/backup/backup_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class SetIdentityTest : public testing::Test {
 protected:
  SetIdentityTest() { host_.make_guests(); }
  std::string identity() const { return host_.set() + "/vbackup.set"; }
  // A night without --init.
  RunResult create() const {
    Command more{"--state", host_.scratch("state")};
    for (const auto& [name, path] : host_.trees()) more.insert(more.end(), {"--tree", name + "=" + path});
    return host_.vbackup("create", more);
  }
  BackupHost host_;
};

TEST_F(SetIdentityTest, ADirectoryThatIsNoSetIsRefused) {
  for (const bool there : {false, true}) {
    if (there) fs::create_directory(host_.set());  // where the disk is not mounted
    const RunResult result = create();
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr("vbackup init --to archive:" + host_.set()));
    EXPECT_EQ(fs::exists(host_.set()), there);
  }
  EXPECT_TRUE(fs::is_empty(host_.set())) << "nothing is left there";
}

TEST_F(SetIdentityTest, InitMakesOneAndLeavesItAlone) {
  EXPECT_THAT(host_.vbackup("init").out, HasSubstr("is an archive set now"));
  const std::string before = read_file(identity());
  EXPECT_EQ(create().exit_code, 0);
  const std::string after = read_file(identity());
  EXPECT_EQ(before.substr(0, 55), after.substr(0, 55)) << "the same set";
  const RunResult again = host_.vbackup("init");
  EXPECT_EQ(again.exit_code, 0);
  EXPECT_THAT(again.out, HasSubstr("is an archive set already"));
  EXPECT_EQ(read_file(identity()), after);
}

TEST_F(SetIdentityTest, ALostOneIsKnownByItsArchives) {
  ASSERT_EQ(host_.create().exit_code, 0);
  const std::string before = read_file(identity());
  for (const char* text : {"", "gone bad"}) {
    if (*text == 0)
      fs::remove(identity());
    else
      write_file(identity(), text);
    EXPECT_EQ(host_.vbackup("list").exit_code, 3) << text;
    EXPECT_EQ(host_.vbackup("check").exit_code, 1) << text;
    host_.restored(std::string("back-") + text);
    const RunResult result = create();
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.err, HasSubstr("vbackup.set was lost, and is written again"));
    EXPECT_EQ(read_file(identity()).substr(0, 55), before.substr(0, 55)) << "the same set";
    EXPECT_EQ(host_.vbackup("check").exit_code, 0) << text;
  }
  fs::remove(identity());
  EXPECT_THAT(host_.vbackup("init").out, HasSubstr("written again"));
  EXPECT_THAT(read_file(identity()), HasSubstr("next pool archive 1002, next member 4294967301"))
      << "numbers that may have been used are not used again";
}

TEST_F(SetIdentityTest, ArchivesOfTwoSetsAreNone) {
  ASSERT_EQ(host_.create().exit_code, 0);
  BackupHost other;
  other.make_guests();
  ASSERT_EQ(other.create().exit_code, 0);
  const std::string foreign = "beta-full-" + other.last_stamp();
  for (const char* suffix : {".tar.zst", ".catalog"})
    fs::copy(other.set() + "/" + foreign + suffix, host_.set() + "/" + foreign + suffix,
             fs::copy_options::overwrite_existing);
  fs::remove(identity());
  const RunResult result = create();
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("archives of several sets"));
  EXPECT_FALSE(fs::exists(identity()));
}

TEST_F(SetIdentityTest, WhatOnlyLooksNeedsNotWrite) {
  ASSERT_EQ(host_.create().exit_code, 0);
  fs::remove(host_.set() + "/.lock");
  set_immutable(host_.set(), true);  // as a medium that is read-only: no file can be made
  EXPECT_EQ(host_.vbackup("list").exit_code, 0);
  EXPECT_EQ(host_.vbackup("check").exit_code, 0);
  EXPECT_EQ(host_.vbackup("forget", {"-n", "--keep-last", "1"}).exit_code, 0);
  EXPECT_EQ(host_.vbackup("prune", {"-n"}).exit_code, 0);
  EXPECT_EQ(host_.vbackup("prune").exit_code, 1) << "and what would write says so";
  set_immutable(host_.set(), false);
}

}  // namespace
}  // namespace vs::test
