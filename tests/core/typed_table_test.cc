#include "core/typed_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <type_traits>
#include <unordered_set>

namespace vs {
namespace {

using testing::ElementsAre;

using Row = TypedNumber<struct RowTag>;
using Column = TypedNumber<struct ColumnTag>;

template <class Table, class Index>
concept Indexes = requires(Table table, Index index) {
  table[index];
};
static_assert(Indexes<TypedDeque<Row, char>, Row> && Indexes<const TypedDeque<Row, char>, Row>);
static_assert(!Indexes<TypedDeque<Row, char>, Column> && !Indexes<TypedDeque<Row, char>, size_t>);
static_assert(Indexes<TypedBits<Row>, Row> && Indexes<const TypedBits<Row>, Row>);
static_assert(!Indexes<TypedBits<Row>, Column> && !Indexes<TypedBits<Row>, size_t>);

TEST(TypedTableTest, ADequesElementsStayWhereTheyAre) {
  TypedDeque<Row, char> table = {'a'};
  const char& first = table[Row()];
  for (int i = 0; i < 10'000; ++i) table.push_back('b');
  EXPECT_EQ(&table[Row()], &first);
  EXPECT_EQ(table.next_number(), Row(10'001));
}

TEST(TypedTableTest, BitsAreWrittenToByNumber) {
  TypedBits<Row> seen(3);
  seen[Row(1)] = true;
  EXPECT_THAT(seen, ElementsAre(false, true, false));
  EXPECT_EQ(seen.next_number(), Row(3));
}

TEST(TypedTableTest, ANumberIsAKeyOfAnUnorderedSet) {
  const std::unordered_set<Row> some = {Row(1), Row(7), Row(1)};
  EXPECT_EQ(some.size(), 2u);
  EXPECT_TRUE(some.contains(Row(7)) && !some.contains(Row(2)));
}

}  // namespace
}  // namespace vs
