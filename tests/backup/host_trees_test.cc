// The files of the host that belong to a vserver: in its backup, out of it, and in no other place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "backup/archive/catalog.h"
#include "tests/backup/backup_host.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class HostTreesTest : public testing::Test {
 protected:
  HostTreesTest() {
    write_file(host_.tree("alpha") + "/etc/one", "one");
    write_file(host_.tree("beta") + "/etc/two", "two");
    write_file(settings(), "first");
    fs::permissions(settings(), fs::perms(0640));
  }
  // What nspawn has beside the tree of alpha.
  std::string settings() const { return host_.tree("alpha") + ".nspawn"; }
  std::string night() const {
    const RunResult result = host_.create({"--consistency", "live"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return host_.last_stamp();
  }
  // Where it comes back.
  std::string below(const std::string& target, const std::string& name = "alpha") const {
    return target + "/.host." + name + settings();
  }
  RunResult restore(const std::string& target, const Command& more) const {
    Command all{"--target", target};
    all.insert(all.end(), more.begin(), more.end());
    return host_.vbackup("restore", all);
  }
  BackupHost host_;
};

TEST_F(HostTreesTest, ComeBackBesideTheTreeAndNotInTheirPlace) {
  struct ::stat before, after;
  ASSERT_EQ(::stat(settings().c_str(), &before), 0);
  night();
  write_file(settings(), "of now");
  const std::string target = host_.scratch("target");
  const RunResult result = restore(target, {"alpha", "beta"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("2 vservers"), HasSubstr(target + "/.host.NAME")));
  EXPECT_EQ(read_file(below(target)), "first");
  EXPECT_EQ(read_file(settings()), "of now") << "the host's own is not touched";
  ASSERT_EQ(::stat(below(target).c_str(), &after), 0);
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  ASSERT_EQ(::stat((target + "/.host.alpha").c_str(), &after), 0);
  EXPECT_EQ(after.st_mode & 07777, 0700u) << "they may be secret";
  EXPECT_FALSE(fs::exists(target + "/.host.beta")) << "which has none";
  EXPECT_EQ(read_file(target + "/alpha/etc/one"), "one");
}

TEST_F(HostTreesTest, EachTimeHasItsOwn) {
  const std::string first = night();
  write_file(settings(), "second");
  const std::string second = night();
  fs::remove(settings());
  const std::string third = night();
  for (const auto& [stamp, expected] : {std::pair{first, "first"}, {second, "second"}}) {
    const std::string target = host_.scratch(stamp);
    ASSERT_EQ(restore(target, {"alpha@" + stamp}).exit_code, 0);
    EXPECT_EQ(read_file(below(target)), expected);
  }
  ASSERT_EQ(restore(host_.scratch("third"), {"alpha"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(host_.scratch("third") + "/.host.alpha")) << "there was none at " << third;
}

TEST_F(HostTreesTest, NothingThatIsThereIsOverwritten) {
  night();
  const std::string target = host_.scratch("target");
  ASSERT_EQ(restore(target, {"alpha"}).exit_code, 0);
  write_file(below(target), "edited");
  fs::rename(target + "/alpha", target + "/away");
  const RunResult again = restore(target, {"alpha"});
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.err, HasSubstr(target + "/.host.alpha exists already"));
  EXPECT_EQ(read_file(below(target)), "edited");
  EXPECT_FALSE(fs::exists(target + "/alpha"));
}

TEST_F(HostTreesTest, WhatAKilledRestoreLeftOfThemIsSwept) {
  night();
  const std::string target = host_.scratch("target"), work = target + "/.vbackup-restore";
  write_file(work + "/.host.alpha/half", "half");
  write_file(work + "/.host.beta/half", "half");
  fs::permissions(work, fs::perms(0700));
  const RunResult result = restore(target, {"alpha"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(read_file(below(target)), "first");
  EXPECT_FALSE(fs::exists(target + "/.host.alpha/half"));
  EXPECT_FALSE(fs::exists(work)) << "something is left in it";
}

TEST_F(HostTreesTest, ComeUnderTheOtherNameToo) {
  night();
  const std::string target = host_.scratch("target");
  ASSERT_EQ(restore(target, {"--as", "gamma", "alpha"}).exit_code, 0);
  EXPECT_EQ(read_file(below(target, "gamma")), "first");
  EXPECT_EQ(read_file(target + "/gamma/etc/one"), "one");
}

TEST_F(HostTreesTest, GlobsAndPathsAreOfTheTree) {
  night();
  ASSERT_EQ(restore(host_.scratch("include"), {"--include", "etc", "alpha"}).exit_code, 0);
  ASSERT_EQ(restore(host_.scratch("path"), {"alpha:etc"}).exit_code, 0);
  for (const char* part : {"include", "path"})
    EXPECT_FALSE(fs::exists(host_.scratch(part) + "/.host.alpha")) << part;
  ASSERT_EQ(
      restore(host_.scratch("exclude"), {"--exclude", "*.nspawn", "--exclude", "etc", "alpha"}).exit_code, 0);
  EXPECT_EQ(read_file(below(host_.scratch("exclude"))), "first");
}

TEST_F(HostTreesTest, AreShownComparedAndDumpedByTheirName) {
  const std::string first = night();
  write_file(settings(), "second, longer");
  night();
  const std::string path = settings().substr(1);
  EXPECT_THAT(host_.vbackup("show", {"-r", ".host.alpha"}).out, HasSubstr(path));
  EXPECT_EQ(host_.vbackup("dump", {".host.alpha@" + first + ":" + path}).out, "first");
  const RunResult diff = host_.vbackup("diff", {".host.alpha@" + first, ".host.alpha"});
  EXPECT_THAT(diff.out, HasSubstr("M " + path));
  const std::string target = host_.scratch("alone");
  ASSERT_EQ(restore(target, {".host.alpha"}).exit_code, 0);
  EXPECT_EQ(read_file(below(target)), "second, longer");
  EXPECT_FALSE(fs::exists(target + "/alpha"));
  EXPECT_EQ(host_.vbackup("show", {".host.beta"}).exit_code, 2) << "which has none";
  EXPECT_THAT(host_.vbackup("show", {".host.beta"}).err, HasSubstr("no files of the host are stored"));
  EXPECT_EQ(host_.vbackup("show", {".host.nobody"}).exit_code, 2);
}

TEST_F(HostTreesTest, AreNoVserverOfTheirOwn) {
  night();
  EXPECT_THAT(host_.vbackup("list").out, Not(HasSubstr(".host")));
  EXPECT_EQ(host_.vbackup("check", {".host.alpha"}).exit_code, 2);
  EXPECT_EQ(host_.vbackup("forget", {"--keep-last", "1", ".host.alpha"}).exit_code, 2);
}

TEST_F(HostTreesTest, AreCheckedAndRehearsed) {
  night();
  const RunResult result =
      host_.vbackup("check", {"--rehearse", "--scratch", host_.scratch("rehearsal"), "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_EQ(summary_number(result, "files"), 3u);
}

TEST_F(HostTreesTest, AreInASingleArchive) {
  const std::string file = host_.scratch("all.tar.zst");
  ASSERT_EQ(host_.create({"--single", file, "--consistency", "live"}).exit_code, 0);
  const RunResult list = run({vbackup_path(), "list", "--from", file});
  EXPECT_THAT(list.out, AllOf(HasSubstr("2 vservers"), Not(HasSubstr(".host"))));
  EXPECT_EQ(run({vbackup_path(), "check", "--from", file}).exit_code, 0);
  const std::string target = host_.scratch("target");
  ASSERT_EQ(run({vbackup_path(), "restore", "--from", file, "--target", target, "--all"}).exit_code, 0);
  EXPECT_EQ(read_file(below(target)), "first");
  EXPECT_EQ(read_file(target + "/beta/etc/two"), "two");
}

TEST_F(HostTreesTest, StockTarGivesThemBack) {
  night();
  write_file(settings(), "second");
  night();
  const std::string target = host_.scratch("tar");
  fs::create_directories(target);
  must_run({"bash", "-euc",
            "cd '" + target + "'; for f in '" + host_.set() + "'/alpha-full-*.zst '" + host_.set() +
                "'/alpha-inc-*.zst; do tar --zstd --listed-incremental=/dev/null -xf \"$f\"; done"});
  EXPECT_EQ(read_file(below(target)), "second");
  EXPECT_EQ(read_file(target + "/alpha/etc/one"), "one");
}

// A catalog may come from anybody.
TEST(HostTreeNames, OnlyThatOfAVserverIsRead) {
  for (const auto& [name, good] : std::map<std::string, bool>{{".host.web", true},
                                                              {"web", true},
                                                              {".host.", false},
                                                              {".host..hidden", false},
                                                              {".host.a/b", false},
                                                              {".other.web", false}}) {
    backup::Catalog catalog;
    catalog.header.kind = "single";
    catalog.dirs[name];
    const auto bytes = backup::catalog_bytes(catalog);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(backup::parse_catalog(*bytes, "test").has_value(), good) << name;
  }
}

}  // namespace
}  // namespace vs::test
