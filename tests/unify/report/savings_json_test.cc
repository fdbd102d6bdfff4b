#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "core/escape.h"
#include "tests/unify/report/savings_sample.h"

namespace vs::unify {
namespace {

std::vector<nlohmann::json> lines_of(const std::string& text) {
  std::vector<nlohmann::json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

TEST(SavingsJsonTest, IsOneObjectALineWithThePoolLast) {
  const auto lines = lines_of(savings_json(sample_savings({"web1", "web2"})));
  ASSERT_EQ(lines.size(), 2u + 3u + 2u + 1u);
  EXPECT_EQ(lines[0]["type"], "guest");
  EXPECT_EQ(lines[0]["exclusive"], 40'000'000);
  EXPECT_EQ(lines[2]["type"], "package");
  EXPECT_EQ(lines[2]["bytes_saved"], 26'000'000);
  EXPECT_EQ(lines[5]["type"], "night");
  EXPECT_EQ(lines[5]["run"], "r1");
  EXPECT_EQ(lines[7]["type"], "pool");
  EXPECT_EQ(lines[7]["guests"], 2);
  EXPECT_EQ(lines[7]["disk_used"], 380'000'000);
}

TEST(SavingsJsonTest, AnyBytesInANameCanBeHadBack) {
  const auto lines = lines_of(savings_json(hostile_savings()));
  const auto names = hostile_names();
  for (size_t i = 0; i < names.size(); ++i) {
    std::string bytes;
    ASSERT_TRUE(unescape(lines[i]["name"].get<std::string>(), bytes));
    EXPECT_EQ(bytes, names[i]);
  }
}

TEST(SavingsJsonTest, NumbersOf64BitsSurvive) {
  Savings savings;
  savings.disk_used = UINT64_MAX;
  EXPECT_EQ(lines_of(savings_json(savings)).back()["disk_used"].get<uint64_t>(), UINT64_MAX);
}

}  // namespace
}  // namespace vs::unify
