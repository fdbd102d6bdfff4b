#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <set>
#include <sstream>

#include "tests/support/skip.h"
#include "tests/unify/report/savings_sample.h"

namespace vs::unify {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

TEST(SavingsPrometheusTest, NamesEachNumberWithItsPool) {
  const std::string text = savings_prometheus(sample_savings({"web1", "web2"}));
  EXPECT_THAT(text, HasSubstr("vunify_disk_used_bytes{pool=\"/vservers\"} 380000000\n"));
  EXPECT_THAT(text, HasSubstr("vunify_guest_exclusive_bytes{pool=\"/vservers\",guest=\"web2\"} 40000000\n"));
  EXPECT_THAT(text, HasSubstr("vunify_package_saved_bytes{pool=\"/vservers\",package=\"libc6\"} 26000000\n"));
  EXPECT_THAT(text, HasSubstr("vunify_last_run_timestamp_seconds{pool=\"/vservers\"} 1795499507\n"));
  EXPECT_THAT(text, HasSubstr("vunify_last_run_duration_seconds{pool=\"/vservers\"} 1.5\n"));
}

TEST(SavingsPrometheusTest, EveryLineIsAWellFormedSampleOfADeclaredMetric) {
  const std::string sample = R"re(vunify_[a-z_]+\{([a-z]+="([^"\]|\\\\|\\")*",?)+\} [0-9.e+]+)re";
  std::set<std::string> declared;
  std::istringstream in(savings_prometheus(hostile_savings()));
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("# ")) {
      EXPECT_THAT(line, MatchesRegex("# (HELP vunify_[a-z_]+ .+|TYPE vunify_[a-z_]+ gauge)"));
      EXPECT_TRUE(declared.insert(line.substr(2, line.find(' ', 7) - 2)).second)
          << "declared twice: " << line;
    } else {
      EXPECT_THAT(line, MatchesRegex(sample));
      const std::string metric = line.substr(0, line.find('{'));
      EXPECT_TRUE(declared.contains("HELP " + metric) && declared.contains("TYPE " + metric)) << line;
    }
  }
}

TEST(SavingsPrometheusTest, AGuestCannotFloodTheMonitoringWithPackages) {
  Savings savings = sample_savings({"web1"});
  savings.packages.assign(10'000, sample_package("p", "p", 1, 1));
  for (size_t i = 0; i < savings.packages.size(); ++i) savings.packages[i].name += std::to_string(i);
  const std::string text = savings_prometheus(savings);
  EXPECT_THAT(text, HasSubstr("package=\"p49\""));
  EXPECT_THAT(text, Not(HasSubstr("package=\"p50\"")));
}

TEST(SavingsPrometheusTest, PromtoolAcceptsIt) {
  VS_NEEDS_PROGRAM("promtool", "prometheus");
  for (const Savings& savings : {Savings{}, sample_savings({"web1", "web2"}), hostile_savings()}) {
    FILE* promtool = ::popen("promtool check metrics", "w");
    ASSERT_NE(promtool, nullptr);
    std::fputs(savings_prometheus(savings).c_str(), promtool);
    EXPECT_EQ(::pclose(promtool), 0);
  }
}

}  // namespace
}  // namespace vs::unify
