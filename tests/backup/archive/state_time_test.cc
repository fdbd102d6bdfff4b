#include "backup/archive/state_time.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace vs::backup {
namespace {

// "FIRST LAST" or "newest", what it stands for; "REST" follows where something is left.
std::string read(std::string_view text) {
  try {
    const StateTime time = take_state_time(text);
    const std::string within =
        !time.within
            ? "newest"
            : time.within->first + (time.within->first == time.within->last ? "" : " " + time.within->last);
    EXPECT_EQ(time.limit(), time.within ? StampLimit(time.within->last) : kNewest);
    return within + (text.empty() ? "" : " rest " + std::string(text));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::usage) << text;
    EXPECT_THAT(error.what(), testing::HasSubstr("such as 2026-11-24")) << text;
    return "refused";
  }
}

TEST(StateTimeTest, ADayIsAllOfItWithOrWithoutLeadingZeros) {
  for (const char* text : {"2026-01-04", "2026-1-04", "2026-01-4", "2026-1-4"})
    EXPECT_EQ(read(text), "20260104T000000Z 20260104T235959Z") << text;
}

TEST(StateTimeTest, SoIsAnHourAndAMinuteAndASecondIsOneStamp) {
  for (const char* text : {"2026-01-04 3", "2026-01-04T03", "2026-1-4T3Z"})
    EXPECT_EQ(read(text), "20260104T030000Z 20260104T035959Z") << text;
  for (const char* text : {"2026-01-04 3:00", "2026-01-04T03:00", "2026-1-4 3:0Z"})
    EXPECT_EQ(read(text), "20260104T030000Z 20260104T030059Z") << text;
  for (const char* text : {"2026-01-04 3:00:09", "2026-01-04T03:00:09Z", "20260104T030009Z"})
    EXPECT_EQ(read(text), "20260104T030009Z") << text;
}

TEST(StateTimeTest, TheNewestIsLatest) {
  EXPECT_EQ(read("latest"), "newest");
  EXPECT_EQ(read("latest:etc"), "newest rest :etc");
}

TEST(StateTimeTest, APathMayBeginWithADigitOrHaveAColon) {
  EXPECT_EQ(read("2026-01-04:1/x:2"), "20260104T000000Z 20260104T235959Z rest :1/x:2");
  EXPECT_EQ(read("2026-01-04T03:etc"), "20260104T030000Z 20260104T035959Z rest :etc");
  EXPECT_EQ(read("2026-01-04T03:00:/1/x"), "20260104T030000Z 20260104T030059Z rest :/1/x");
  EXPECT_EQ(read("20260104T030009Z:2026"), "20260104T030009Z rest :2026");
}

TEST(StateTimeTest, EverythingElseIsRefused) {
  for (const char* text : {"",
                           "2026",
                           "2026-01",
                           "202601",
                           "20260104",
                           "20260104T03",
                           "20260104T030009",
                           "20260104T030009Zx",
                           "20261304T030009Z",
                           "20260104T250009Z",
                           "20260104T036009Z",
                           "2026010aT030009Z",
                           "2026-13-40",
                           "2026-00-01",
                           "2026-02-29",
                           "2026-04-31",
                           "2026-001-04",
                           "26-01-04",
                           "12026-01-04",
                           "2026/01/04",
                           "04.01.2026",
                           "2026-01-04 24:00",
                           "2026-01-04 3:60",
                           "2026-01-04T",
                           "2026-01-04 ",
                           "2026-01-04  03:00",
                           "2026-01-04Z",
                           "2026-01-04T03:00+01:00",
                           "2026-01-04T03:00:1/x",
                           "2026-01-04T03-00",
                           "2026--1-4",
                           "yesterday",
                           "latest2",
                           " 2026-01-04"})
    EXPECT_EQ(read(text), "refused") << text;
  EXPECT_EQ(read("2028-02-29"), "20280229T000000Z 20280229T235959Z");
}

}  // namespace
}  // namespace vs::backup
