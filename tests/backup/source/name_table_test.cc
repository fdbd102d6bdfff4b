#include "backup/source/name_table.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace vs::backup {
namespace {

TEST(NameTableTest, KeepsEachNameOnceAndNoneMoves) {
  NameTable table;
  EXPECT_EQ(table.add(""), NameNumber());
  std::vector<std::pair<NameNumber, const char*>> first;
  // More than one chunk, of all lengths, and more names than the table begins with.
  const auto name = [](size_t i) { return std::to_string(i) + std::string(i % 240, 'x'); };
  for (size_t i = 0; i < 20'000; ++i) {
    const NameNumber number = table.add(name(i));
    first.emplace_back(number, table.at(number).data());
  }
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(table.at(first[i].first), name(i));
    EXPECT_EQ(table.at(first[i].first).data(), first[i].second);
    EXPECT_EQ(table.add(name(i)), first[i].first);
  }
  EXPECT_NE(table.add("a"), table.add("b"));
}

}  // namespace
}  // namespace vs::backup
