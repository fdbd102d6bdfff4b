// What is written down agrees with the programs: man pages, completions, configuration file and units against
// `--help`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/cli/docs.h"
#include "tests/support/run.h"
#include "tests/support/temp_dir.h"
#include "unify/cli/command.h"
#include "unify/plan/eligibility.h"

namespace vs::unify {
namespace {

using namespace vs::test;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;

// Of vunify.
Names verbs() {
  return verbs_of("vunify");
}
Names options_of_all_verbs() {
  return test::options_of_all_verbs("vunify");
}

// --- The help itself ---------------------------------------------------------------------------------------

TEST(DocsTest, HelpOfEveryVerbEndsWithExitCodesAndAnExample) {
  ASSERT_THAT(verbs(), IsSupersetOf({"scan", "plan", "apply", "run", "status", "report", "explain", "check",
                                     "release", "undo", "recover", "gc"}));
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
  EXPECT_THAT(less(less(named, options_of_all_verbs()), {"--version", "--now"}), IsEmpty())
      << "in vunify.8, but no option";
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
  const std::string section =
      page.substr(page.find(".SH JSON"), page.find(".SH FILES") - page.find(".SH JSON"));
  const auto summary = nlohmann::json::parse(summary_json(RunSummary{}, PhaseTimer{}));
  for (const auto& [key, _] : summary.items()) EXPECT_THAT(section, HasSubstr(key));
}

TEST(DocsTest, ManPageHasEveryExitCode) {
  const std::string page = man_text("vunify.8");
  for (const Exit code : {Exit::done, Exit::failed, Exit::usage, Exit::skipped, Exit::stale_plan,
                          Exit::locked, Exit::interrupted})
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
  for (const auto& verb : verbs())
    EXPECT_EQ(completed_by_bash("vunify", verb + " --"), options_in(help_of("vunify " + verb))) << verb;
  EXPECT_EQ(completed_by_bash("vdu", "--"), options_in(help_of("vdu")));
}

TEST(DocsTest, BashCompletesValuesAndDirectories) {
  EXPECT_THAT(completed_by_bash("vunify", "run --guard ''"), Contains("immutable"));
  EXPECT_THAT(completed_by_bash("vunify", "run --tree web = /us"), Contains("/usr"));
  EXPECT_THAT(completed_by_bash("vunify", "--state /us"), Contains("/usr"));
  EXPECT_THAT(completed_by_bash("vdu", "/us"), Contains("/usr"));
}

TEST(DocsTest, BashCompletesNamesOfVserversWithoutRunningAnything) {
  EXPECT_EQ(completed_by_bash("vunify", "explain --tree web = /a --tree mail = /b ''"),
            (Names{"mail", "web"}));
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
  const auto status = [](const std::string& file) {
    return run({VS_BINARY_DIR "/vunify", "status", "--config", file, "--tree", "x=/usr/share"});
  };
  const auto shipped = status(VS_SOURCE_DIR "/packaging/conf/vunify.conf");
  EXPECT_THAT(shipped.exit_code, testing::AnyOf(0, 1)) << shown(shipped);
  EXPECT_THAT(shipped.err, testing::Not(HasSubstr("vunify.conf:")));
  // The harness: another file is.
  const TempDir dir;
  std::ofstream(dir / "vunify.conf") << "no-such-key = 1\n";
  EXPECT_THAT(status(dir / "vunify.conf").err, HasSubstr("vunify.conf:"));
}

TEST(DocsTest, UnitsCallVunifyWithOptionsThatExist) {
  for (const char* file : {"vunify.service", "vunify-recover.service", "write-reports"})
    EXPECT_THAT(unknown_options_of_call(file, "/usr/sbin/vunify|set -- ", "vunify"), IsEmpty()) << file;
}

}  // namespace
}  // namespace vs::unify
