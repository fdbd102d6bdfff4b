#include "core/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vs {
namespace {

using testing::HasSubstr;
using testing::internal::CaptureStderr;
using testing::internal::GetCapturedStderr;

std::string all_kinds(Verbosity verbosity) {
  CaptureStderr();
  Log log(verbosity, "prog");
  log.error("E");
  log.warning("W");
  log.info("I");
  log.verbose("V");
  log.debug("D");
  return GetCapturedStderr();
}

TEST(LogTest, ShowsWhatTheVerbosityAsksFor) {
  EXPECT_EQ(all_kinds(Verbosity::quiet), "prog: error: E\n");
  EXPECT_EQ(all_kinds(Verbosity::normal), "prog: error: E\nprog: warning: W\nprog: I\n");
  EXPECT_EQ(all_kinds(Verbosity::debug),
            "prog: error: E\nprog: warning: W\nprog: I\nprog: V\nprog: debug: D\n");
}

TEST(LogTest, TellsAKindOfTroubleOnceWithItsNumberAndAnExample) {
  CaptureStderr();
  Log log(Verbosity::quiet, "prog");
  for (const char* text : {"/a/x: full", "/a/y: full"}) log.remember_first("no_space", text);
  log.tell_number("no_space", 2, "no room");
  log.tell_number("busy", 3, "in use");
  EXPECT_EQ(
      GetCapturedStderr(),
      "prog: warning: 2 x no_space (no room), the first: /a/x: full\nprog: warning: 3 x busy (in use)\n");
}

TEST(LogTest, CountsObjectsThatFailedAlsoWhenQuiet) {
  CaptureStderr();
  Log log(Verbosity::quiet);
  log.object_failed("x");
  log.object_failed("y");
  log.warning("not counted");
  EXPECT_EQ(log.failed_objects(), 2u);
  EXPECT_THAT(GetCapturedStderr(), HasSubstr("x"));
}

// A run over a broken disk must not fill the host's journal.
TEST(LogTest, NamesTheFirstFailedObjectsAndNumbersTheRest) {
  CaptureStderr();
  Log log(Verbosity::normal);
  for (uint64_t i = 0; i < Log::kNamed + 5; ++i) log.object_failed("object " + std::to_string(i) + ".");
  log.finish();
  const std::string text = GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("object 199."));
  EXPECT_EQ(text.find("object 200."), std::string::npos);
  EXPECT_THAT(text, HasSubstr("and 5 more"));
  EXPECT_EQ(log.failed_objects(), Log::kNamed + 5);
}

TEST(LogTest, FinishSaysNothingWhenAllWereNamed) {
  CaptureStderr();
  Log log(Verbosity::normal);
  log.finish();
  EXPECT_EQ(GetCapturedStderr(), "");
}

TEST(LogTest, ClearsTheProgressLineBeforeEachLine) {
  CaptureStderr();
  Log log(Verbosity::normal, "p");
  int cleared = 0;
  log.before_line([&] { ++cleared; });
  log.info("a");
  log.verbose("not shown");
  log.error("b");
  log.before_line({});
  log.info("c");
  EXPECT_EQ(cleared, 2);
  GetCapturedStderr();
}

}  // namespace
}  // namespace vs
