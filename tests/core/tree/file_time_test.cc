#include "core/tree/file_time.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace vs {
namespace {

constexpr int64_t kMost = std::numeric_limits<int64_t>::max(), kLeast = std::numeric_limits<int64_t>::min();

// Years 1, 1600, 1677, 1700, 1969 .. 1970, 2239, 2262, 2400, 9999, in order, around each edge too.
const std::vector<int64_t> kSeconds{-62'135'596'800,
                                    -11'670'999'438,
                                    -9'223'372'037,
                                    -8'500'000'001,
                                    -8'500'000'000,
                                    -2,
                                    -1,
                                    0,
                                    1,
                                    8'499'999'999,
                                    8'500'000'000,
                                    8'500'000'001,
                                    9'223'372'037,
                                    13'583'332'800,
                                    253'402'300'799};

TEST(FileTimeTest, EachTimeComesBackAndInOrder) {
  int64_t last = kLeast;
  for (const int64_t seconds : kSeconds)
    for (const uint32_t nanoseconds : {0u, 1000u, 250'000'000u, 999'999'000u}) {
      const int64_t time = file_time(seconds, nanoseconds);
      EXPECT_GT(time, last) << seconds << "." << nanoseconds;
      last = time;
      EXPECT_EQ(timespec_of(time).tv_sec, seconds);
      EXPECT_EQ(timespec_of(time).tv_nsec, static_cast<long>(nanoseconds));
    }
}

TEST(FileTimeTest, WhatIsUsualIsNanoseconds) {
  EXPECT_EQ(file_time(1'795'000'000, 123'456'789), 1'795'000'000'123'456'789);
  EXPECT_EQ(file_time(-2, 250'000'000), -1'750'000'000);
  EXPECT_EQ(timespec_of(-1'750'000'000).tv_nsec, 250'000'000);
  EXPECT_TRUE(in_nanoseconds(1'795'000'000'123'456'789));
  EXPECT_FALSE(in_nanoseconds(file_time(13'583'332'800, 0)));
}

TEST(FileTimeTest, BeyondAllOfThemIsTheEnd) {
  EXPECT_EQ(file_time(kMost, 999'999'999), kLatestFileTime);
  EXPECT_EQ(file_time(kLeast, 0), kEarliestFileTime);
  for (const int64_t any : {kMost, kLeast, kLatestFileTime, kEarliestFileTime, kLeast + 1}) {
    const timespec time = timespec_of(any);
    EXPECT_TRUE(time.tv_nsec >= 0 && time.tv_nsec < 1'000'000'000) << any;
  }
}

}  // namespace
}  // namespace vs
