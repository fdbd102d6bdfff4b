// vdu as it is called: arguments, exit codes, what goes to stdout and what to stderr.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

namespace vs::unify {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::StartsWith;

class VduTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "vduXXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    for (const char* tree : {"a", "b", "[x,y]", "new\nline"}) fs::create_directory(dir_ / tree);
    std::ofstream(dir_ / "a/file") << "content";
    fs::create_hard_link(dir_ / "a/file", dir_ / "b/file");
  }
  void TearDown() override { fs::remove_all(dir_); }

  // Runs vdu in the directory; stderr is left in stderr_.
  int vdu(const std::string& arguments) {
    const std::string command =
        "cd '" + dir_.string() + "' && '" VS_BINARY_DIR "/vdu' " + arguments + " 2>stderr";
    FILE* pipe = ::popen(command.c_str(), "r");
    stdout_.clear();
    for (int c; (c = std::fgetc(pipe)) != EOF;) stdout_ += static_cast<char>(c);
    const int status = ::pclose(pipe);
    std::ostringstream text;
    text << std::ifstream(dir_ / "stderr").rdbuf();
    stderr_ = text.str();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  fs::path dir_;
  std::string stdout_, stderr_;
};

TEST_F(VduTest, PrintsALineForEachTreeAndTheirTotal) {
  EXPECT_EQ(vdu("a b"), 0);
  EXPECT_THAT(stdout_, MatchesRegex(" *APPARENT +ON DISK +SHARED +EXCLUSIVE +TREE\n.* a\n.* b\n.* total\n"));
  EXPECT_EQ(vdu("-s a"), 0);
  EXPECT_THAT(stdout_, MatchesRegex(".*TREE\n[^\n]* a\n"));
  EXPECT_THAT(stderr_, IsEmpty());
}

TEST_F(VduTest, JsonEndsWithTheSummary) {
  EXPECT_EQ(vdu("--json a b"), 0);
  std::istringstream in(stdout_);
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["path"], "a");
  EXPECT_EQ(lines[0]["inodes_shared"], 1);
  EXPECT_EQ(lines[2]["type"], "summary");
  EXPECT_EQ(lines[2]["inodes"], 3);
  EXPECT_EQ(lines[2]["inodes_shared"], 0);
  EXPECT_EQ(lines[2]["apparent"], 7);
}

TEST_F(VduTest, ExclusiveIsANumberATabAndTheName) {
  EXPECT_EQ(vdu("--exclusive -B1 a"), 0);
  EXPECT_THAT(stdout_, MatchesRegex("[0-9]+\ta\n"));
  EXPECT_EQ(vdu("--exclusive --inodes a b"), 0);
  EXPECT_EQ(stdout_, "1\ta\n1\tb\n3\ttotal\n");
}

TEST_F(VduTest, NamesThatLookLikeListsOrBreakLinesAreNames) {
  EXPECT_EQ(vdu("'[x,y]'"), 0);
  EXPECT_THAT(stdout_, HasSubstr("[x,y]\n"));
  EXPECT_EQ(vdu("'new\nline'"), 0);
  EXPECT_THAT(stdout_, HasSubstr("new\\nline\n"));
}

TEST_F(VduTest, BadUsageIsExitCode2AndNothingOnStdout) {
  for (const char* bad : {"", "--bogus a", "missing", "a/file", "a .", "a a", "-B zz a", "-B"}) {
    EXPECT_EQ(vdu(bad), 2) << bad;
    EXPECT_THAT(stdout_, IsEmpty()) << bad;
    EXPECT_FALSE(stderr_.empty()) << bad;
  }
}

TEST_F(VduTest, AResultThatCannotBeWrittenIsAFailure) {
  EXPECT_EQ(vdu("a >/dev/full"), 1);
  EXPECT_THAT(stderr_, StartsWith("vdu: write to standard output: "));
}

TEST_F(VduTest, HelpEndsWithExitCodesAndAnExample) {
  EXPECT_EQ(vdu("--help"), 0);
  EXPECT_LT(stdout_.find("Exit codes:"), stdout_.find("Example:"));
  EXPECT_EQ(vdu("--version"), 0);
  EXPECT_THAT(stdout_, StartsWith("vdu "));
}

}  // namespace
}  // namespace vs::unify
