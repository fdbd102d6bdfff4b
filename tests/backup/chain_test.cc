// Archives that are lost, or that are not the ones they stand for: the state that was asked for, or none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/backup/backup_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class ChainTest : public testing::Test {
 protected:
  // A night in which g/f and g/sub/f get this content; gives its stamp.
  std::string night(const std::string& content, const Command& more = {}) {
    fs::create_directories(tree_ + "/sub");
    write_file(tree_ + "/f", content);
    write_file(tree_ + "/sub/f", content);
    const RunResult result = create(more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    last_err_ = result.err;
    const std::string stamp = result.out.substr(result.out.rfind("\"stamp\":\"") + 9, 16);
    return stamp;
  }
  RunResult create(const Command& more = {}) const {
    Command line{vbackup_path(), "create",       "--init",        "--to",       set_,
                 "--state",      dir_ / "state", "--tree",        "g=" + tree_, "--progress",
                 "never",        "--json",       "--consistency", "live"};
    line.insert(line.end(), more.begin(), more.end());
    return run(line);
  }
  RunResult vbackup(const std::string& verb, const Command& more = {}) const {
    Command line{vbackup_path(), verb, "--to", set_, "--progress", "never"};
    line.insert(line.end(), more.begin(), more.end());
    return run(line);
  }
  RunResult restore(const std::string& what, const std::string& into) const {
    return vbackup("restore", {"--target", dir_ / into, what});
  }
  void lose(const std::string& stamp) const {
    size_t lost = 0;
    for (const auto& entry : fs::directory_iterator(set_))
      if (entry.path().filename().string().find(stamp) != std::string::npos) lost += fs::remove(entry.path());
    ASSERT_EQ(lost, 2u) << "an archive and its catalog";
  }

  TempDir dir_;
  std::string tree_ = dir_ / "g", set_ = dir_ / "set", last_err_;
};

TEST_F(ChainTest, AStateWithAHoleIsRefusedAndTheLastWholeOneNamed) {
  night("1");
  const std::string second = night("2"), third = night("3"), fourth = night("4");
  lose(third);
  for (const std::string& what : {std::string("g"), "g@" + fourth}) {
    const RunResult result = restore(what, "refused");
    EXPECT_EQ(result.exit_code, 2) << result.out;
    EXPECT_THAT(result.err, HasSubstr("g@" + fourth + " cannot be restored"));
    EXPECT_THAT(result.err, HasSubstr("the newest before it that is whole is g@" + second));
    EXPECT_FALSE(fs::exists(dir_ / "refused/g"));
  }
  EXPECT_EQ(restore("g@" + second, "second").exit_code, 0);
  EXPECT_EQ(read_file(dir_ / "second/g/f"), "2");
  const RunResult list = vbackup("list");
  EXPECT_EQ(list.exit_code, 3) << list.out;
  EXPECT_THAT(list.out, HasSubstr("cannot be restored"));
  EXPECT_EQ(vbackup("check").exit_code, 1);
}

TEST_F(ChainTest, AfterAHoleTheNextRunBeginsAnew) {
  night("1");
  const std::string second = night("2");
  const std::string third = night("3");
  lose(second);
  const std::string fourth = night("4");
  EXPECT_THAT(last_err_, HasSubstr("a new full begins"));
  EXPECT_EQ(restore("g@" + third, "third").exit_code, 2);
  EXPECT_EQ(restore("g", "fourth").exit_code, 0);
  EXPECT_EQ(read_file(dir_ / "fourth/g/sub/f"), "4");
}

TEST_F(ChainTest, OneGuestWithAHoleTakesNothingFromTheOthers) {
  const std::string other = dir_ / "other";
  fs::create_directories(other);
  write_file(other + "/f", "whole");
  const Command both{"--tree", "h=" + other};
  night("1", both);
  const std::string second = night("2", both);
  night("3", both);
  for (const char* suffix : {".tar.zst", ".catalog"})
    ASSERT_TRUE(fs::remove(set_ + "/g-inc-" + second + suffix));
  const RunResult result = vbackup("restore", {"--target", dir_ / "r", "--all"});
  EXPECT_EQ(result.exit_code, 3) << result.out;
  EXPECT_THAT(result.err, HasSubstr("cannot be restored"));
  EXPECT_EQ(read_file(dir_ / "r/h/f"), "whole");
  EXPECT_FALSE(fs::exists(dir_ / "r/g"));
}

// What is in the place of the archive before has its name, its number and its stamp, and is not what was
// there: of a set that was copied, and continued at both places in the same second.
TEST_F(ChainTest, AnArchiveThatIsNotTheOneItStandsForIsFound) {
  night("1");
  const std::string mine = set_, other = dir_ / "other", other_tree = dir_ / "other-tree";
  fs::create_directories(other_tree);
  write_file(other_tree + "/f", "X");
  std::string same;
  for (int i = 0; i < 20 && same.empty(); ++i) {
    fs::remove_all(other);
    fs::copy(mine, other);
    Process elsewhere({vbackup_path(), "create", "--init", "--to", other, "--state", dir_ / "other-state",
                       "--tree", "g=" + other_tree, "--progress", "never", "--consistency", "live"});
    const std::string stamp = night("2");
    ASSERT_EQ(elsewhere.wait().exit_code, 0);
    if (fs::exists(other + "/g-inc-" + stamp + ".catalog")) same = stamp;
  }
  ASSERT_FALSE(same.empty()) << "never in the same second";
  const std::string third = night("3");
  for (const char* suffix : {".tar.zst", ".catalog"})
    fs::copy(other + "/g-inc-" + same + suffix, mine + "/g-inc-" + same + suffix,
             fs::copy_options::overwrite_existing);
  const RunResult result = restore("g@" + third, "third");
  EXPECT_EQ(result.exit_code, 2) << result.out;
  EXPECT_THAT(result.err, HasSubstr("is not the archive that the one after it was made from"));
  EXPECT_EQ(vbackup("check").exit_code, 1);
}

TEST_F(ChainTest, NumbersOfThePoolAreNeverUsedAgainAndAMirrorKnowsItsOwn) {
  const std::string a = dir_ / "a", b = dir_ / "b";
  const auto both = [&](const Command& more = {}) {
    Command line{vbackup_path(), "create", "--init",        "--to",   set_,     "--state",
                 dir_ / "state", "--tree", "a=" + a,        "--tree", "b=" + b, "--progress",
                 "never",        "--json", "--consistency", "live"};
    line.insert(line.end(), more.begin(), more.end());
    const RunResult result = run(line);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result.out.substr(result.out.rfind("\"stamp\":\"") + 9, 16);
  };
  const auto share = [&](const std::string& name, const std::string& content) {
    write_file(a + "/" + name, content);
    fs::create_hard_link(a + "/" + name, b + "/" + name);
  };
  const auto mirror = [&] { must_run({"cp", "-a", set_ + "/.", dir_ / "mirror"}); };
  fs::create_directories(a);
  fs::create_directories(b);
  share("base", "of both");
  both();
  mirror();
  share("x", "file x of the second night");
  const std::string second = both();
  mirror();
  fs::remove(a + "/x");
  fs::remove(b + "/x");
  both({"--full"});
  mirror();
  ASSERT_EQ(vbackup("forget", {"--keep-last", "1", "--prune"}).exit_code, 0);
  for (const char* name : {"y1", "y2", "y3"}) share(name, std::string("file ") + name + " of the last night");
  both();
  mirror();
  EXPECT_EQ(vbackup("check").exit_code, 0);
  set_ = dir_ / "mirror";
  const RunResult result = restore("a@" + second, "r");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(read_file(dir_ / "r/a/x"), "file x of the second night");
  EXPECT_EQ(vbackup("check").exit_code, 0);
}

TEST_F(ChainTest, APoolArchiveThatIsAnotherOneGivesNobodyAnothersFile) {
  const auto made = [&](const std::string& where, const std::string& content) {
    fs::create_directories(dir_ / (where + "-a"));
    fs::create_directories(dir_ / (where + "-b"));
    write_file(dir_ / (where + "-a/x"), content);
    fs::create_hard_link(dir_ / (where + "-a/x"), dir_ / (where + "-b/x"));
    must_run({vbackup_path(), "create", "--init", "--to", dir_ / where, "--tree",
              "a=" + dir_ / (where + "-a"), "--tree", "b=" + dir_ / (where + "-b"), "--state",
              dir_ / (where + "-state"), "--progress", "never", "--consistency", "live"});
  };
  made("one", "mine");
  made("two", "not yours");
  for (const char* name : {"pool-1.tar.zst", "pool-1.catalog"})
    fs::copy(dir_ / (std::string("two/") + name), dir_ / (std::string("one/") + name),
             fs::copy_options::overwrite_existing);
  set_ = dir_ / "one";
  const RunResult result = restore("a", "r");
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("is another file than the one that was stored"));
  EXPECT_FALSE(fs::exists(dir_ / "r/a/x"));
  EXPECT_EQ(vbackup("check").exit_code, 1);
}

// Of a set that was copied and continued at both places: a number that two archives of the pool have.
TEST_F(ChainTest, AMemberThatIsThereTwiceIsCheckedAsItIsRestored) {
  const std::string a = dir_ / "a", b = dir_ / "b", copy = dir_ / "copy";
  const auto share = [&](const std::string& name) {
    write_file(a + "/" + name, "file " + name);
    fs::create_directories(b);
    fs::create_hard_link(a + "/" + name, b + "/" + name);
  };
  const auto run_into = [&](const std::string& set) {
    BackupHost::let_clock_pass();  // what is known takes no new number
    must_run({vbackup_path(), "create", "--init", "--to", set, "--state", dir_ / "state", "--tree", "a=" + a,
              "--tree", "b=" + b, "--progress", "never", "--consistency", "live"});
  };
  share("base");
  run_into(set_);
  fs::copy(set_, copy);
  share("x");
  run_into(set_);  // pool-2: x
  share("z");
  run_into(copy);  // pool-2: x, z
  for (const std::string& guest : {a, b}) fs::remove(guest + "/z");
  share("w");
  run_into(set_);  // pool-3: w, under the number that z has there
  for (const char* name : {"/pool-2.tar.zst", "/pool-2.catalog"})
    fs::copy(copy + name, set_ + name, fs::copy_options::overwrite_existing);
  const RunResult result = restore("a", "r");
  EXPECT_EQ(result.exit_code, 3) << result.out;
  EXPECT_THAT(result.err, HasSubstr("is another file than the one that was stored"));
  const RunResult check = vbackup("check");
  EXPECT_EQ(check.exit_code, 1) << check.out;
  EXPECT_THAT(check.out, HasSubstr("a:w"));
}

TEST_F(ChainTest, ASingleArchiveIsCheckedWithAndWithoutARehearsal) {
  fs::create_directories(tree_);
  write_file(tree_ + "/f", "alone");
  must_run({vbackup_path(), "create", "--init", "--single", dir_ / "one.tar.zst", "--tree", "g=" + tree_,
            "--state", dir_ / "state", "--progress", "never", "--consistency", "live"});
  set_ = dir_ / "one.tar.zst";
  const RunResult plain = vbackup("check");
  EXPECT_EQ(plain.exit_code, 0) << plain.out;
  EXPECT_THAT(plain.out, HasSubstr("all is as it was stored"));
  const RunResult rehearsed = vbackup("check", {"--rehearse"});
  EXPECT_EQ(rehearsed.exit_code, 0) << rehearsed.out;
  EXPECT_THAT(rehearsed.out, HasSubstr("restored and compared"));
}

}  // namespace
}  // namespace vs::test
