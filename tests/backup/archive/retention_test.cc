#include "backup/archive/retention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace vs::backup {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Archive archive(const std::string& stamp, const std::string& chain, uint32_t number) {
  Archive a;
  a.name = stamp;
  a.header.kind = number == 0 ? "full" : "inc";
  a.header.stamp = stamp;
  a.header.chain = chain;
  a.header.number = number;
  return a;
}

// Two chains of daily backups: a full on the 1st and the 5th.
std::vector<Archive> history() {
  std::vector<Archive> all;
  for (int day = 1; day <= 8; ++day) {
    const std::string stamp = "2026110" + std::to_string(day) + "T030000Z",
                      chain = day < 5 ? "20261101T030000Z" : "20261105T030000Z";
    all.push_back(archive(stamp, chain, static_cast<uint32_t>(day < 5 ? day - 1 : day - 5)));
  }
  return all;
}

std::vector<std::string> kept(const std::vector<Archive>& all, const Retention& rules) {
  std::vector<std::string> days;
  for (const auto& verdict : apply_retention(all, rules))
    if (verdict.keep) days.push_back(verdict.archive.header.stamp.substr(6, 2));
  return days;
}

TEST(RetentionTest, NeverBreaksAChain) {
  Retention rules;
  rules.last = 1;
  EXPECT_THAT(kept(history(), rules), ElementsAre("05", "06", "07", "08"));
  EXPECT_EQ(apply_retention(history(), rules)[5].why, "needed by 20261108T030000Z");
}

TEST(RetentionTest, RemovesTheEndOfAChainThatNobodyNeeds) {
  auto all = history();
  Retention rules;
  rules.weekly = 2;  // the 1st is a Sunday: the newest of its week; the 8th of the next
  EXPECT_THAT(kept(all, rules), ElementsAre("01", "05", "06", "07", "08"));
}

TEST(RetentionTest, KeepsTheNewestOfEachPeriod) {
  std::vector<Archive> all;
  for (const char* stamp :
       {"20251231T230000Z", "20260101T010000Z", "20260131T010000Z", "20260201T010000Z", "20260201T020000Z"})
    all.push_back(archive(stamp, stamp, 0));
  Retention monthly;
  monthly.monthly = 3;
  EXPECT_EQ(kept(all, monthly).size(), 3u);
  Retention yearly;
  yearly.yearly = 5;
  EXPECT_EQ(kept(all, yearly).size(), 2u);
  Retention hourly;
  hourly.hourly = 1;
  EXPECT_EQ(kept(all, hourly).size(), 1u);
}

// Five nights in one chain: a guest that ran was archived live and then stopped, but on the third, when it
// could not be.
std::vector<Archive> nights_of_a_guest_that_runs() {
  std::vector<Archive> all;
  for (int night = 1; night <= 5; ++night) {
    for (const char* consistency : {"live", "frozen"}) {
      if (night == 3 && std::string(consistency) == "frozen") continue;
      const std::string stamp =
          "2026110" + std::to_string(night) + (std::string(consistency) == "live" ? "T030000Z" : "T030130Z");
      all.push_back(archive(stamp, "20261101T030000Z", static_cast<uint32_t>(all.size())));
      all.back().header.consistency = consistency;
    }
  }
  return all;
}

TEST(RetentionTest, ANightWithTwoArchivesOfAGuestCountsOnce) {
  auto all = nights_of_a_guest_that_runs();
  Retention rules;
  rules.last = 4;
  const auto why_of = [&](const std::string& stamp) {
    for (const auto& verdict : apply_retention(all, rules))
      if (verdict.archive.header.stamp == stamp) return verdict.why;
    return std::string("none");
  };
  EXPECT_EQ(why_of("20261105T030130Z"), "last");
  EXPECT_EQ(why_of("20261105T030000Z"), "needed by 20261105T030130Z");
  EXPECT_EQ(why_of("20261103T030000Z"), "last") << "a live archive alone is a night";
  EXPECT_EQ(why_of("20261102T030130Z"), "last");
  EXPECT_EQ(why_of("20261101T030130Z"), "needed by 20261105T030130Z") << "the fifth night";
  rules = {};
  rules.hourly = 1;
  EXPECT_EQ(why_of("20261105T030130Z"), "hourly");
}

TEST(RetentionTest, WhatGoesOfANightGoesTogether) {
  auto all = nights_of_a_guest_that_runs();
  // The last night began a new chain.
  for (size_t i = all.size() - 2; i < all.size(); ++i) {
    all[i].header.chain = "20261105T030000Z";
    all[i].header.number = static_cast<uint32_t>(i - (all.size() - 2));
  }
  Retention rules;
  rules.last = 2;
  std::vector<std::string> kept_stamps;
  for (const auto& verdict : apply_retention(all, rules))
    if (verdict.keep) kept_stamps.push_back(verdict.archive.header.stamp.substr(6));
  EXPECT_THAT(kept_stamps, ElementsAre("01T030000Z", "01T030130Z", "02T030000Z", "02T030130Z", "03T030000Z",
                                       "04T030000Z", "04T030130Z", "05T030000Z", "05T030130Z"));
  rules.last = 1;
  kept_stamps.clear();
  for (const auto& verdict : apply_retention(all, rules))
    if (verdict.keep) kept_stamps.push_back(verdict.archive.header.stamp.substr(6));
  EXPECT_THAT(kept_stamps, ElementsAre("05T030000Z", "05T030130Z"));
}

TEST(RetentionTest, TheNewestStaysWhateverTheRulesSay) {
  EXPECT_EQ(kept(history(), Retention{}).back(), "08");
  EXPECT_THAT(apply_retention({}, Retention{}), IsEmpty());
}

TEST(RetentionTest, WithinIsCountedBackFromTheNewest) {
  Retention rules;
  const auto within = [&](const std::string& span) {
    rules.within = parse_span(span);
    return kept(history(), rules);
  };
  EXPECT_THAT(within("3d"), ElementsAre("05", "06", "07", "08"));
  EXPECT_THAT(within("48h"), ElementsAre("05", "06", "07", "08")) << "with what the 6th is built on";
  EXPECT_THAT(within("1w"), ElementsAre("01", "02", "03", "04", "05", "06", "07", "08"));
  EXPECT_THAT(within("0d"), ElementsAre("05", "06", "07", "08"));
  EXPECT_THAT(within("1y6m"), testing::SizeIs(8));
  for (const char* bad : {"", "d", "3", "3x", "3d4", "-1d", "3 d", "99999999999d"})
    EXPECT_THROW(parse_span(bad), Error) << bad;
}

TEST(RetentionTest, WhatIsProtectedStaysWithWhatItNeeds) {
  auto all = history();
  all[1].is_protected = true;
  Retention rules;
  rules.last = 1;
  EXPECT_THAT(kept(all, rules), ElementsAre("01", "02", "05", "06", "07", "08"));
  EXPECT_EQ(apply_retention(all, rules)[1].why, "protected");
}

TEST(RetentionTest, WeeksAreIsoWeeks) {
  EXPECT_EQ(period_of("20241230T000000Z", 'w'), "2025-W01");
  EXPECT_EQ(period_of("20261108T235959Z", 'w'), "2026-W45");
}

}  // namespace
}  // namespace vs::backup
