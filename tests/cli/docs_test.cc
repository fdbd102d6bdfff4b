// What is written down agrees with the programs: man pages, completions, configuration file and units against `--help`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/run.h"
#include "unify/command.h"
#include "unify/eligibility.h"

namespace vs::unify {
namespace {

namespace test = vs::test;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using Names = std::set<std::string>;

std::string output_of(const std::string& command) { return test::must_run({"bash", "-c", command}); }

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

Names joined(Names a, const Names& b) {
  a.insert(b.begin(), b.end());
  return a;
}

Names less(Names a, const Names& b) {
  for (const auto& name : b) a.erase(name);
  return a;
}

std::string help_of(const std::string& program_and_verb) { return output_of(VS_BINARY_DIR "/" + program_and_verb + " --help"); }

// Long names, with dashes, in the option column of a help text: lines of two blanks and a dash.
Names options_in(const std::string& help) {
  Names names;
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("  -")) names.merge(all_matches(line.substr(0, line.find("  ", 3)), "(--[a-z-]+)"));
  return names;
}

Names verbs() {
  const std::string help = help_of("vunify");
  std::istringstream lines(help.substr(help.find("Subcommands:")));
  Names names;
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("  ") && line[2] != ' ') names.insert(line.substr(2, line.find(' ', 2) - 2));
  return names;
}

Names options_of_all_verbs() {
  Names names;
  for (const auto& verb : verbs()) names.merge(options_in(help_of("vunify " + verb)));
  return names;
}

// What a reader sees of a man page, as far as names go: without fonts, with plain dashes.
std::string man_text(const std::string& page) {
  const std::string source = std::regex_replace(file_text("packaging/man/" + page), std::regex("\\\\f[BIRP]"), "");
  return std::regex_replace(source, std::regex("\\\\-"), "-");
}

Names options_named_in(const std::string& text) { return all_matches(text, "(--[a-z][a-z-]*[a-z])"); }

// What bash offers for these words, the last of them being completed.
Names completed_by_bash(const std::string& program, const std::string& words) {
  return all_matches(output_of("source '" VS_SOURCE_DIR "/packaging/completions/" + program + ".bash'; COMP_WORDS=(" + program + " " + words +
                               "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _" + program + "; printf '%s\\n' \"${COMPREPLY[@]}\""),
                     "([^\n]+)");
}

// --- The help itself ---------------------------------------------------------------------------------------

TEST(DocsTest, HelpOfEveryVerbEndsWithExitCodesAndAnExample) {
  ASSERT_THAT(verbs(), IsSupersetOf({"scan", "plan", "apply", "run", "status", "report", "explain", "check", "release", "undo", "recover", "gc"}));
  for (const auto& verb : verbs()) {
    const std::string help = help_of("vunify " + verb);
    EXPECT_THAT(help, HasSubstr("Exit codes: 0")) << verb;
    EXPECT_THAT(help, HasSubstr("Example:    vunify " + verb)) << verb;
  }
}

// --- Man pages ---------------------------------------------------------------------------------------------

TEST(DocsTest, ManPageOfVunifyHasEveryVerb) {
  const std::string page = man_text("vunify.8");
  for (const auto& verb : verbs()) EXPECT_THAT(page, HasSubstr(".B vunify " + verb)) << "SYNOPSIS";
}

TEST(DocsTest, ManPageOfVunifyHasEveryOptionAndNoOther) {
  const Names named = options_named_in(man_text("vunify.8"));
  EXPECT_THAT(less(options_of_all_verbs(), named), IsEmpty()) << "not in vunify.8";
  EXPECT_THAT(less(less(named, options_of_all_verbs()), {"--version", "--now"}), IsEmpty()) << "in vunify.8, but no option";
}

TEST(DocsTest, ManPageOfVduHasEveryOptionAndNoOther) {
  const Names named = options_named_in(man_text("vdu.8")), real = options_in(help_of("vdu"));
  EXPECT_THAT(less(real, named), IsEmpty()) << "not in vdu.8";
  EXPECT_THAT(less(named, real), IsEmpty()) << "in vdu.8, but no option";
}

TEST(DocsTest, ManPageExplainsEveryReason) {
  const std::string page = man_text("vunify.8");
  for (size_t i = 0; i < kReasons; ++i) {
    const std::string name(reason_name(static_cast<Reason>(i)));
    EXPECT_THAT(page, HasSubstr("\n.TP\n.I " + name + "\n"));
  }
}

TEST(DocsTest, ManPageNamesEveryFieldOfTheSummary) {
  const std::string page = man_text("vunify.8");
  const std::string section = page.substr(page.find(".SH JSON"), page.find(".SH FILES") - page.find(".SH JSON"));
  const auto summary = nlohmann::json::parse(summary_json(RunSummary{}, PhaseTimer{}));
  for (const auto& [key, _] : summary.items()) EXPECT_THAT(section, HasSubstr(key));
}

TEST(DocsTest, ManPageHasEveryExitCode) {
  const std::string page = man_text("vunify.8");
  for (const Exit code : {Exit::done, Exit::failed, Exit::usage, Exit::skipped, Exit::stale_plan, Exit::locked, Exit::interrupted})
    EXPECT_THAT(page, HasSubstr("\n.TP\n.B " + std::to_string(static_cast<int>(code)) + "\n"));
}

TEST(DocsTest, ManPagesTellTheDefaultExcludes) {
  std::string all;
  for (const auto& path : default_excludes()) all += (all.empty() ? "" : " ") + path;
  EXPECT_THAT(man_text("vunify.8"), HasSubstr(all));
  EXPECT_THAT(file_text("packaging/conf/vunify.conf"), HasSubstr(all));
}

// --- Completions -------------------------------------------------------------------------------------------

TEST(DocsTest, BashCompletesEveryVerbAndOptionAndNoOther) {
  EXPECT_EQ(completed_by_bash("vunify", "''"), joined(verbs(), {"--help", "--version"}));
  for (const auto& verb : verbs()) EXPECT_EQ(completed_by_bash("vunify", verb + " --"), options_in(help_of("vunify " + verb))) << verb;
  EXPECT_EQ(completed_by_bash("vdu", "--"), options_in(help_of("vdu")));
}

TEST(DocsTest, BashCompletesValuesAndDirectories) {
  EXPECT_THAT(completed_by_bash("vunify", "run --guard ''"), Contains("immutable"));
  EXPECT_THAT(completed_by_bash("vunify", "run --tree web = /us"), Contains("/usr"));
  EXPECT_THAT(completed_by_bash("vunify", "--state /us"), Contains("/usr"));
  EXPECT_THAT(completed_by_bash("vdu", "/us"), Contains("/usr"));
}

TEST(DocsTest, BashCompletesNamesOfVserversWithoutRunningAnything) {
  EXPECT_EQ(completed_by_bash("vunify", "explain --tree web = /a --tree mail = /b ''"), (Names{"mail", "web"}));
}

TEST(DocsTest, ZshKnowsEveryVerbAndOptionAndNoOther) {
  const std::string zsh = file_text("packaging/completions/_vunify");
  for (const auto& verb : verbs()) EXPECT_THAT(zsh, HasSubstr("'" + verb + ":"));
  const Names named = options_named_in(zsh);
  EXPECT_THAT(less(options_of_all_verbs(), named), IsEmpty());
  EXPECT_THAT(less(less(named, options_of_all_verbs()), {"--version"}), IsEmpty());
  EXPECT_EQ(options_named_in(file_text("packaging/completions/_vdu")), options_in(help_of("vdu")));
}

// --- Configuration and units -------------------------------------------------------------------------------

TEST(DocsTest, ConfigurationFileShowsOptionsThatExistAndAllThatAreShared) {
  Names keys = all_matches(file_text("packaging/conf/vunify.conf"), "(?:^|\n)#?([a-z-]+) = ");
  Names options, shared;
  for (const auto& option : options_of_all_verbs()) options.insert(option.substr(2));
  for (const auto& option : options_in(help_of("vunify status"))) shared.insert(option.substr(2));
  EXPECT_THAT(less(keys, options), IsEmpty()) << "in vunify.conf, but no option";
  EXPECT_THAT(less(less(shared, keys), {"config", "help"}), IsEmpty()) << "not in vunify.conf";
  const std::string page = man_text("vunify.conf.5");
  for (const auto& key : keys) EXPECT_THAT(page, HasSubstr(key)) << "vunify.conf.5";
}

TEST(DocsTest, TheConfigurationFileAsShippedIsAccepted) {
  // Whatever status says of this machine's filesystems: the file is no reason for complaint.
  const std::string said = output_of(VS_BINARY_DIR "/vunify status --config '" VS_SOURCE_DIR "/packaging/conf/vunify.conf' --tree x=/usr/share 2>&1 || true");
  EXPECT_THAT(said, testing::Not(HasSubstr("vunify.conf:")));
}

TEST(DocsTest, UnitsCallVunifyWithOptionsThatExist) {
  for (const char* file : {"vunify.service", "vunify-recover.service", "write-reports"}) {
    const std::string text = file_text("packaging/systemd/" + std::string(file));
    const std::regex call("(?:/usr/sbin/vunify|set -- )\\s*([a-z]+)([^\n]*)");
    std::smatch found;
    ASSERT_TRUE(std::regex_search(text, found, call)) << file;
    EXPECT_THAT(less(options_named_in(found[2]), options_in(help_of("vunify " + found[1].str()))), IsEmpty()) << file;
  }
}

}  // namespace
}  // namespace vs::unify
