// Parts of a backup, and under another name: restore --include, --exclude, --as; dump.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/backup/backup_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class PartsTest : public testing::Test {
 protected:
  PartsTest() {
    host_.make_guests();
    write_file(host_.tree("alpha") + "/srv/a/one.conf", "1");
    write_file(host_.tree("alpha") + "/srv/a/two.txt", "2");
    write_file(host_.tree("alpha") + "/srv/b/three.conf", "3");
    fs::permissions(host_.tree("alpha") + "/srv/a", fs::perms(0711));
    EXPECT_EQ(host_.create().exit_code, 0);
  }
  // Of alpha, with these options; the tree that is there then.
  std::string restored(Command options, int exit_code = 0) {
    const std::string target = host_.scratch("parts" + std::to_string(++rounds_));
    options.insert(options.end(), {"--target", target, "alpha"});
    const RunResult result = host_.vbackup("restore", options);
    EXPECT_EQ(result.exit_code, exit_code) << result.err;
    said_ = result.err;
    return target + "/alpha";
  }
  // The paths in a tree, one a line, sorted.
  static std::string paths(const std::string& tree) {
    return must_run({"bash", "-c", "cd '" + tree + "' && find . -mindepth 1 -printf '%P\\n' | sort"});
  }
  BackupHost host_;
  std::string said_;
  int rounds_ = 0;
};

TEST_F(PartsTest, OnlyWhatFitsWithTheDirectoriesOnTheWay) {
  const std::string tree = restored({"--include", "*.conf"});
  EXPECT_EQ(paths(tree), "srv\nsrv/a\nsrv/a/one.conf\nsrv/b\nsrv/b/three.conf\n");
  struct ::stat stat;
  ASSERT_EQ(::stat((tree + "/srv/a").c_str(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 07777, 0711u) << "with their own attributes";
}

TEST_F(PartsTest, ADirectoryWithAllBelowItButWhatIsExcluded) {
  EXPECT_EQ(paths(restored({"--include", "srv", "--exclude", "srv/a/*.txt", "--exclude", "b"})),
            "srv\nsrv/a\nsrv/a/one.conf\n");
}

TEST_F(PartsTest, AllButWhatIsExcluded) {
  const std::string tree = restored({"--exclude", "srv/*", "--exclude", "large*"});
  EXPECT_TRUE(fs::exists(tree + "/srv") && fs::is_empty(tree + "/srv"));
  EXPECT_FALSE(fs::exists(tree + "/large"));
  EXPECT_EQ(read_file(tree + "/etc/one"), read_file(host_.tree("alpha") + "/etc/one"));
}

TEST_F(PartsTest, WhatFitsNothingIsSaid) {
  restored({"--include", "srv/b", "--include", "etc/nothing-like-it", "--exclude", "*.bak"}, 3);
  EXPECT_THAT(said_, HasSubstr("--include etc/nothing-like-it fits nothing"));
  EXPECT_THAT(said_, HasSubstr("--exclude *.bak fits nothing"));
}

TEST_F(PartsTest, UnderAnotherName) {
  const std::string target = host_.scratch("other");
  fs::create_directories(target + "/alpha");
  const RunResult result = host_.vbackup("restore", {"--target", target, "--as", "alpha-test", "alpha"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(read_file(target + "/alpha-test/srv/a/one.conf"), "1");
  EXPECT_TRUE(fs::is_empty(target + "/alpha")) << "the one that is there is left alone";
  for (const char* bad : {"a/b", "..", ".hidden"})
    EXPECT_EQ(host_.vbackup("restore", {"--target", target, "--as", bad, "alpha"}).exit_code, 2) << bad;
  EXPECT_THAT(host_.vbackup("restore", {"--target", target, "--as", "x", "alpha", "beta"}).err,
              HasSubstr("--as goes with one"));
}

TEST_F(PartsTest, TheBytesOfOneFile) {
  for (const char* path : {"large", "sparse", "zeros", "nothing", "etc/shared", "usr/bin/program"}) {
    const std::string out = host_.scratch("dumped");
    Command line = host_.command("dump", {std::string("alpha:") + path});
    std::string shell = "exec \"$0\" \"$@\" > '" + out + "'";
    line.insert(line.begin(), {"bash", "-c", shell});
    const RunResult result = run(line);
    EXPECT_EQ(result.exit_code, 0) << path << result.err;
    EXPECT_EQ(run({"cmp", out, host_.tree("alpha") + "/" + path}).exit_code, 0) << path;
  }
}

TEST_F(PartsTest, WhatIsNoFileHasNoBytes) {
  EXPECT_THAT(host_.vbackup("dump", {"alpha:usr/link"}).err, HasSubstr("is a symbolic link to ../etc/one"));
  EXPECT_THAT(host_.vbackup("dump", {"alpha:srv"}).err, HasSubstr("is no file"));
  EXPECT_THAT(host_.vbackup("dump", {"alpha:srv/none"}).err, HasSubstr("no 'srv/none' in it"));
  EXPECT_EQ(host_.vbackup("dump", {"alpha:srv/none"}).exit_code, 2);
  EXPECT_EQ(host_.vbackup("dump", {"alpha:etc/one", "alpha:etc/two"}).exit_code, 2);
}

// A reader that has enough is no trouble of ours; an answer that could not be written is.
TEST_F(PartsTest, AReaderThatLeavesAndADiskThatIsFull) {
  for (const char* verb : {"show -r", "dump"}) {
    const std::string call = vbackup_path() + " " + verb + " --to archive:" + host_.set() + " alpha" +
                             (std::string(verb) == "dump" ? ":large" : "");
    const RunResult left = run({"bash", "-c", call + " | head -c 10 >/dev/null; exit ${PIPESTATUS[0]}"});
    EXPECT_EQ(left.exit_code, 141) << verb;
    EXPECT_EQ(left.err, "") << verb;
    const RunResult full = run({"bash", "-c", call + " >/dev/full"});
    EXPECT_EQ(full.exit_code, 1) << verb;
    EXPECT_THAT(full.err, HasSubstr("No space left on device")) << verb;
  }
}

TEST_F(PartsTest, QuietIsQuiet) {
  BackupHost::let_clock_pass();
  ASSERT_EQ(host_.create().exit_code, 0);
  const RunResult result = host_.vbackup("forget", {"-q", "--keep-last", "1", "--prune"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out + result.err, "");
}

}  // namespace
}  // namespace vs::test
