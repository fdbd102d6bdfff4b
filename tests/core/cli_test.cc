#include "core/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/core/scratch.h"

namespace vs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A program with two verbs that share options, as vunify has them.
class CliTest : public testing::Test {
 protected:
  struct Values {
    std::string store = "default", name;
    uint64_t jobs = 1;
    bool dry_run = false;
    int verbose = 0;
    std::vector<std::string> trees, guests;
  };

  void SetUp() override {
    for (const char* name : {"VS_STORE", "VS_JOBS", "VS_TREE", "VS_DRY_RUN"}) ::unsetenv(name);
  }
  void TearDown() override { SetUp(); }

  int run(std::vector<std::string> words) {
    CommandLine line("prog", "test", dir_ / "default.conf");
    for (const char* verb_name : {"go", "look"}) {
      Verb verb = line.verb(verb_name, "does it");
      verb.option("--store", "DIR", values_.store, "where");
      verb.option("-j,--jobs", "N", values_.jobs, "threads");
      verb.list("--tree", "NAME=DIR", values_.trees, "trees");
      verb.count("-v,--verbose", values_.verbose, "more");
      if (std::string(verb_name) == "go") verb.flag("-n,--dry-run", values_.dry_run, "only say");
      verb.arguments("GUEST", values_.guests, "guests", false);
      verb.footer(exit_codes("0 done", "prog go"));
      verb.action([this, verb_name] {
        ran_ = verb_name;
        return result_;
      });
    }
    std::vector<char*> argv;
    words.insert(words.begin(), "prog");
    for (auto& word : words) argv.push_back(word.data());
    testing::internal::CaptureStderr();
    testing::internal::CaptureStdout();
    const int code = line.run(static_cast<int>(argv.size()), argv.data());
    err_ = testing::internal::GetCapturedStderr();
    out_ = testing::internal::GetCapturedStdout();
    return code;
  }
  void config(const std::string& text) { unit::write_file(dir_ / "default.conf", text); }

  const unit::ScratchDir dir_;
  Values values_;
  Exit result_ = Exit::done;
  std::string ran_, err_, out_;
};

TEST_F(CliTest, RunsTheVerbWithItsOptionsAndArguments) {
  EXPECT_EQ(run({"go", "-n", "-vv", "-j", "3", "--tree", "a=/a", "--tree=b=/b", "web", "mail"}), 0);
  EXPECT_EQ(ran_, "go");
  EXPECT_TRUE(values_.dry_run);
  EXPECT_EQ(values_.jobs, 3u);
  EXPECT_EQ(values_.verbose, 2);
  EXPECT_THAT(values_.trees, ElementsAre("a=/a", "b=/b"));
  EXPECT_THAT(values_.guests, ElementsAre("web", "mail"));
}

TEST_F(CliTest, AListOptionTakesOneValueSoThatArgumentsMayFollow) {
  EXPECT_EQ(run({"go", "--tree", "a=/a", "web"}), 0);
  EXPECT_THAT(values_.trees, ElementsAre("a=/a"));
  EXPECT_THAT(values_.guests, ElementsAre("web"));
}

TEST_F(CliTest, GivesTheExitCodeOfTheVerb) {
  result_ = Exit::skipped;
  EXPECT_EQ(run({"look"}), 3);
}

// CLI11 leaves with 100 and more; scripts are promised 2.
TEST_F(CliTest, EveryBadUsageIsExitCodeTwo) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{},
                                             {"fly"},
                                             {"go", "--none"},
                                             {"go", "-j"},
                                             {"go", "-j", "many"},
                                             {"go", "-j", "-3"},
                                             {"go", "-j", "3x"},
                                             {"go", "-j", "99999999999999999999"},
                                             {"look", "-n"}}) {
    ran_.clear();
    EXPECT_EQ(run(words), 2) << testing::PrintToString(words);
    EXPECT_EQ(ran_, "");
    EXPECT_THAT(err_, HasSubstr("prog: error: "));
  }
}

TEST_F(CliTest, HelpIsNoErrorAndEndsWithExitCodesAndExample) {
  EXPECT_EQ(run({"go", "--help"}), 0);
  EXPECT_EQ(ran_, "");
  EXPECT_THAT(out_, HasSubstr("Exit codes: 0 done\nExample:    prog go"));
  EXPECT_EQ(run({"--version"}), 0);
}

TEST_F(CliTest, TheFlagBeatsTheEnvironmentBeatsTheFileBeatsTheDefault) {
  EXPECT_EQ(run({"go"}), 0);
  EXPECT_EQ(values_.store, "default");
  config("store = file\n");
  EXPECT_EQ(run({"go"}), 0);
  EXPECT_EQ(values_.store, "file");
  ::setenv("VS_STORE", "environment", 1);
  EXPECT_EQ(run({"go"}), 0);
  EXPECT_EQ(values_.store, "environment");
  EXPECT_EQ(run({"go", "--store", "flag"}), 0);
  EXPECT_EQ(values_.store, "flag");
}

TEST_F(CliTest, TheFileHasCommentsBlanksAndOptionsSeveralTimes) {
  config("# a comment\n\n  tree = a=/a \ntree=b=/b\r\ndry-run = yes\njobs = 7");
  EXPECT_EQ(run({"go"}), 0);
  EXPECT_THAT(values_.trees, ElementsAre("a=/a", "b=/b"));
  EXPECT_TRUE(values_.dry_run);
  EXPECT_EQ(values_.jobs, 7u);
}

TEST_F(CliTest, TreesOnTheCommandLineReplaceThoseOfTheFile) {
  config("tree = a=/a\n");
  EXPECT_EQ(run({"go", "--tree", "b=/b"}), 0);
  EXPECT_THAT(values_.trees, ElementsAre("b=/b"));
}

TEST_F(CliTest, AnOptionOfAnotherVerbInTheFileIsPassedOver) {
  config("dry-run = yes\n");
  EXPECT_EQ(run({"look"}), 0);
}

TEST_F(CliTest, TroubleInTheFileNamesFileAndLine) {
  for (const std::string line : {"stroe = x", "store", "jobs = many", "dry-run = maybe"}) {
    config("# first\n" + line + "\n");
    EXPECT_EQ(run({"go"}), 2) << line;
    EXPECT_THAT(err_, HasSubstr("default.conf:2")) << line;
  }
}

TEST_F(CliTest, AConfigurationThatIsNamedMustExist) {
  EXPECT_EQ(run({"go", "--config", dir_ / "none"}), 2);
  EXPECT_THAT(err_, HasSubstr(dir_ / "none"));
  unit::write_file(dir_ / "mine", "store = mine\n");
  config("store = default file\n");
  EXPECT_EQ(run({"go", "--config", dir_ / "mine"}), 0);
  EXPECT_EQ(values_.store, "mine");
}

TEST_F(CliTest, TroubleInTheEnvironmentNamesTheVariable) {
  ::setenv("VS_JOBS", "many", 1);
  EXPECT_EQ(run({"go"}), 2);
  EXPECT_THAT(err_, HasSubstr("VS_JOBS"));
}

TEST_F(CliTest, AnErrorOfTheVerbIsPrintedWithItsCode) {
  CommandLine line("prog", "test", "");
  line.whole().action([]() -> Exit { throw Error("the plan is of another host", Exit::stale_plan); });
  char name[] = "prog";
  char* argv[] = {name};
  testing::internal::CaptureStderr();
  EXPECT_EQ(line.run(1, argv), 4);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "prog: error: the plan is of another host\n");
}

}  // namespace
}  // namespace vs
