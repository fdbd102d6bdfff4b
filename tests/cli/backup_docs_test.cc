// What is written down of vbackup agrees with `--help`: man page, completions, configuration file, units.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "tests/support/run.h"

namespace vs::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using Names = std::set<std::string>;

const Names kVerbs = {"create", "list", "show", "restore", "check", "diff", "forget", "prune"};

std::string file_text(const std::string& path) {
  std::ifstream file(VS_SOURCE_DIR "/" + path);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

Names all_matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  Names found;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) found.insert((*it)[1]);
  return found;
}

Names less(Names a, const Names& b) {
  for (const auto& name : b) a.erase(name);
  return a;
}

std::string help_of(const std::string& verb) { return must_run({VS_BINARY_DIR "/vbackup", verb, "--help"}); }

Names options_in(const std::string& help) {
  Names names;
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("  -")) names.merge(all_matches(line.substr(0, line.find("  ", 3)), "(--[a-z-]+)"));
  return names;
}

Names options_of_all_verbs() {
  Names names;
  for (const auto& verb : kVerbs) names.merge(options_in(help_of(verb)));
  return names;
}

Names options_named_in(const std::string& text) { return all_matches(text, "(--[a-z][a-z-]*[a-z])"); }

TEST(BackupDocsTest, HelpOfEveryVerbEndsWithExitCodesAndAnExample) {
  for (const auto& verb : kVerbs) {
    EXPECT_THAT(help_of(verb), HasSubstr("Exit codes: 0")) << verb;
    EXPECT_THAT(help_of(verb), HasSubstr("Example:    vbackup " + verb)) << verb;
  }
}

TEST(BackupDocsTest, ManPageHasEveryVerbAndOptionAndNoOther) {
  std::string page = std::regex_replace(file_text("packaging/man/vbackup.8"), std::regex("\\\\f[BIRP]"), "");
  page = std::regex_replace(page, std::regex("\\\\-"), "-");
  for (const auto& verb : kVerbs) EXPECT_THAT(page, HasSubstr(".B vbackup " + verb));
  EXPECT_THAT(less(options_of_all_verbs(), options_named_in(page)), IsEmpty()) << "not in vbackup.8";
  EXPECT_THAT(less(less(options_named_in(page), options_of_all_verbs()), {"--version", "--help"}), IsEmpty()) << "in vbackup.8, but no option";
}

TEST(BackupDocsTest, CompletionsKnowEveryVerbAndOptionAndNoOther) {
  for (const auto& verb : kVerbs) {
    const std::string said = must_run({"bash", "-c", "source '" VS_SOURCE_DIR "/packaging/completions/vbackup.bash'; COMP_WORDS=(vbackup " + verb + " --); COMP_CWORD=2; _vbackup; printf '%s\\n' \"${COMPREPLY[@]}\""});
    EXPECT_EQ(all_matches(said, "([^\n]+)"), options_in(help_of(verb))) << verb;
  }
  const std::string zsh = file_text("packaging/completions/_vbackup");
  for (const auto& verb : kVerbs) EXPECT_THAT(zsh, HasSubstr("'" + verb + ":"));
  EXPECT_EQ(less(options_named_in(zsh), {"--version"}), options_of_all_verbs());
}

TEST(BackupDocsTest, ConfigurationFileShowsOptionsThatExist) {
  Names keys = all_matches(file_text("packaging/conf/vbackup.conf"), "(?:^|\n)#?([a-z-]+) = "), options;
  for (const auto& option : options_of_all_verbs()) options.insert(option.substr(2));
  EXPECT_THAT(less(keys, options), IsEmpty());
}

TEST(BackupDocsTest, TheUnitCallsOptionsThatExist) {
  const std::string unit = file_text("packaging/systemd/vbackup.service");
  std::smatch found;
  ASSERT_TRUE(std::regex_search(unit, found, std::regex("/usr/sbin/vbackup ([a-z]+)([^\n]*)")));
  EXPECT_THAT(less(options_named_in(found[2]), options_in(help_of(found[1]))), IsEmpty());
}

}  // namespace
}  // namespace vs::test
