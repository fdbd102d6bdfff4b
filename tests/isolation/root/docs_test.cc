// What is written down agrees with the programs: man pages and completions against `--help`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <string>

#include "isolation/vserver/vserver_config.h"
#include "tests/support/run.h"
#include "tests/support/temp_dir.h"

namespace vs::test {
namespace {

using testing::HasSubstr;

std::set<std::string> matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) found.insert((*it)[1]);
  return found;
}

std::string man(const std::string& page) {
  std::string text = read_file(VS_SOURCE_DIR "/packaging/man/" + page);
  return std::regex_replace(std::regex_replace(text, std::regex("\\\\f[BIRP]"), ""), std::regex("\\\\-"),
                            "-");
}

TEST(IsolationDocsTest, EveryOptionOfEveryToolIsInManAndCompletion) {
  const std::string bash = read_file(VS_SOURCE_DIR "/packaging/completions/vserver.bash");
  const std::map<std::string, std::string> elsewhere = {
      {"vserver", "vserver.8"},     {"vps", "vps.8"},
      {"vpstree", "vps.8"},         {"vtop", "vps.8"},
      {"vkill", "vps.8"},           {"rebootmgr", "rebootmgr.8"},
      {"vapt", "vapt.8"},           {"vrpm", "vapt.8"},
      {"v_service", "v_service.8"}, {"newvserver", "newvserver.8"},
      {"vreboot", "rebootmgr.8"}};
  for (const char* tool :
       {"vserver", "chcontext", "chbind", "reducecap", "vservers", "vserver-stat", "vps", "vpstree", "vtop",
        "vkill", "rebootmgr", "newvserver", "vapt", "vrpm", "v_service", "vreboot"}) {
    const std::string help = must_run({std::string(VS_BINARY_DIR "/") + tool, "--help"});
    EXPECT_THAT(help, HasSubstr("Exit codes: ")) << tool;
    EXPECT_THAT(help, HasSubstr(std::string("Example:    ") + tool)) << tool;
    const std::string page = man(elsewhere.contains(tool) ? elsewhere.at(tool) : "chcontext.8");
    for (const auto& option : matches(help, "\n  (--[a-z-]+)")) {
      const bool common = option == "--help" || option == "--version";
      EXPECT_TRUE(common || page.find(option) != std::string::npos) << tool << " " << option;
      EXPECT_THAT(bash, HasSubstr(option)) << tool;
    }
  }
}

TEST(IsolationDocsTest, EveryVerbIsInManAndCompletions) {
  const std::string help = must_run({VS_BINARY_DIR "/vserver", "--help"});
  const auto verbs = matches(help.substr(0, help.find("Options:")), "\n  ([a-z]+)");
  ASSERT_GT(verbs.size(), 8u);
  for (const auto& verb : verbs) {
    EXPECT_THAT(man("vserver.8"), HasSubstr(verb));
    for (const char* file : {"vserver.bash", "_vserver"})
      EXPECT_THAT(read_file(std::string(VS_SOURCE_DIR "/packaging/completions/") + file), HasSubstr(verb))
          << file;
  }
}

}  // namespace
}  // namespace vs::test
