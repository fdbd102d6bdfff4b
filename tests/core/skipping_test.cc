// How tests may be skipped, see tests/support/skip.h.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/skip.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;

TEST(SkippingTest, GoesThroughOneMacroThatNamesAReasonOfTheList) {
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(VS_SOURCE_DIR "/tests")) {
    const auto& path = entry.path();
    if (path.extension() != ".cc" && path.extension() != ".h") continue;
    if (path.filename() == "skip.h" || path.filename() == "skipping_test.cc") continue;
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    EXPECT_EQ(text.str().find("GTEST_SKIP"), std::string::npos) << path;
    ++files;
  }
  EXPECT_GT(files, 100u);
}

TEST(SkippingTest, AMissingPackageIsNoReason) {
  const auto none = without_program("no-such-program", "its-package");
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->reason);
  EXPECT_NE(none->text.find("its-package"), std::string::npos);
  EXPECT_FALSE(without_program("sh", "dash"));
}

TEST(SkippingTest, AMachineSaysWhatItDoesWithout) {
  ::setenv("VS_MACHINE_LACKS", "some no-such-program", 1);
  const auto said = without_program("no-such-program", "its-package"),
             unsaid = without_program("no-such", "its-package");
  const auto present = without_program("sh", "dash");
  ::unsetenv("VS_MACHINE_LACKS");
  ASSERT_TRUE(said && unsaid);
  EXPECT_EQ(said->reason, Skip::kMachine);
  EXPECT_FALSE(unsaid->reason) << "a part of a word is another program";
  EXPECT_FALSE(present);
}

}  // namespace
}  // namespace vs::test
