#include "isolation/context/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace vs::isolation {
namespace {

using testing::HasSubstr;

std::string trouble(const std::string& text) {
  try {
    parse_config("web.conf", text);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ConfigFileTest, ReadsWhatTheOriginalsScriptsSourced) {
  const auto lines = parse_config(
      "web.conf",
      "# a comment\n\nexport S_NICE=5\nIPROOT=\"1.2.3.4 5.6.7.8\"  # two\n  ONBOOT='yes'\nS_CAPS=\n");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].key, "S_NICE");
  EXPECT_EQ(lines[0].value, "5");
  EXPECT_EQ(lines[0].where, "web.conf:3");
  EXPECT_EQ(lines[1].value, "1.2.3.4 5.6.7.8");
  EXPECT_EQ(lines[2].value, "yes");
  EXPECT_EQ(lines[3].value, "");
}

TEST(ConfigFileTest, NamesFileAndLineOfWhatItDoesNotUnderstand) {
  EXPECT_THAT(trouble("ONBOOT=yes\nif true; then\n"), HasSubstr("web.conf:2: "));
  EXPECT_THAT(trouble("IPROOT=1.2.3.4 5.6.7.8\n"),
              HasSubstr("web.conf:1: IPROOT: expected nothing after the value"));
  EXPECT_THAT(trouble("IPROOT=\"1.2.3.4\n"), HasSubstr("a closing \""));
}

TEST(ConfigFileTest, RefusesWhatAShellWouldHaveExecuted) {
  EXPECT_THAT(trouble("S_HOSTNAME=\"$(reboot)\"\n"), HasSubstr("not executed"));
  EXPECT_THAT(trouble("S_HOSTNAME=`reboot`\n"), HasSubstr("not executed"));
  EXPECT_EQ(trouble("S_HOSTNAME='$x'\n"), "");
}

}  // namespace
}  // namespace vs::isolation
