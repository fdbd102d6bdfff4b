// What is written down of vbackup agrees with `--help`: man page, completions, configuration file, units.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/cli/docs.h"

namespace vs::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;

Names verbs() {
  return verbs_of("vbackup");
}
Names options_of_all_verbs() {
  return test::options_of_all_verbs("vbackup");
}

TEST(BackupDocsTest, HelpOfEveryVerbEndsWithExitCodesAndAnExample) {
  ASSERT_THAT(verbs(), IsSupersetOf({"init", "create", "list", "show", "restore", "check", "diff", "forget",
                                     "prune", "mount"}));
  for (const auto& verb : verbs()) {
    const std::string help = help_of("vbackup " + verb);
    EXPECT_THAT(help, HasSubstr("Exit codes: 0")) << verb;
    EXPECT_THAT(help, HasSubstr("Example:    vbackup " + verb)) << verb;
  }
}

TEST(BackupDocsTest, ManPageHasEveryVerbAndOptionAndNoOther) {
  const std::string page = man_text("vbackup.8");
  for (const auto& verb : verbs()) EXPECT_THAT(page, HasSubstr(".B vbackup " + verb));
  const Names named = options_named_in(page);
  EXPECT_THAT(less(options_of_all_verbs(), named), IsEmpty()) << "not in vbackup.8";
  EXPECT_THAT(less(less(named, options_of_all_verbs()), {"--version", "--help"}), IsEmpty())
      << "in vbackup.8, but no option";
}

TEST(BackupDocsTest, CompletionsKnowEveryVerbAndOptionAndNoOther) {
  const std::string zsh = file_text("packaging/completions/_vbackup");
  for (const auto& verb : verbs()) {
    EXPECT_EQ(completed_by_bash("vbackup", verb + " --"), options_in(help_of("vbackup " + verb))) << verb;
    EXPECT_THAT(zsh, HasSubstr("'" + verb + ":"));
  }
  EXPECT_EQ(less(options_named_in(zsh), {"--version"}), options_of_all_verbs());
}

TEST(BackupDocsTest, ConfigurationFileShowsOptionsThatExist) {
  Names options;
  for (const auto& option : options_of_all_verbs()) options.insert(option.substr(2));
  EXPECT_THAT(less(all_matches(file_text("packaging/conf/vbackup.conf"), "(?:^|\n)#?([a-z-]+) = "), options),
              IsEmpty());
}

TEST(BackupDocsTest, TheUnitsCallOptionsThatExist) {
  for (const char* file : {"vbackup.service", "vbackup-check.service"})
    EXPECT_THAT(unknown_options_of_call(file, "/usr/sbin/vbackup", "vbackup"), IsEmpty()) << file;
}

// What is missing each night (exit 3) must be seen: where a unit succeeds nobody looks.
TEST(BackupDocsTest, ANightInWhichSomethingIsMissingIsAFailedUnit) {
  EXPECT_EQ(all_matches(file_text("packaging/systemd/vbackup.service"), "(?:^|\n)SuccessExitStatus=([^\n]*)"),
            (Names{"130"}));
}

}  // namespace
}  // namespace vs::test
