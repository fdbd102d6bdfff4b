#include "core/typed_number.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <type_traits>

namespace vs {
namespace {

using testing::ElementsAre;

using Row = TypedNumber<struct RowOfATest>;
using Column = TypedNumber<struct ColumnOfATest>;

template <class Table, class Number>
concept Indexes = requires(Table& table, Number number) {
  table[number];
};

// What does not compile, which is what the type is for.
static_assert(!std::is_convertible_v<Column, Row> && !std::is_constructible_v<Row, Column>);
static_assert(!std::is_convertible_v<size_t, Row> && !std::is_convertible_v<Row, size_t>);
static_assert(Indexes<TypedVector<Row, char>, Row> && Indexes<const TypedVector<Row, char>, Row>);
static_assert(!Indexes<TypedVector<Row, char>, Column> && !Indexes<const TypedVector<Row, char>, Column>);
static_assert(!Indexes<TypedVector<Row, char>, size_t> && !Indexes<TypedVector<Row, char>, uint32_t>);
static_assert(!Indexes<TypedSpan<Row, char>, Column> && !Indexes<TypedSpan<Row, char>, size_t>);
static_assert(!Indexes<std::vector<char>, Row> && !Indexes<std::span<char>, Row>);

// And what it costs.
static_assert(sizeof(Row) == 4 && std::is_trivially_copyable_v<Row>);
static_assert(sizeof(TypedVector<Row, char>) == sizeof(std::vector<char>));
static_assert(sizeof(TypedSpan<Row, char>) == sizeof(std::span<char>));

TEST(TypedNumberTest, CountsTheElementsOfItsTable) {
  TypedVector<Row, char> table = {'a', 'b'};
  const Row next = table.next_number();
  table.push_back('c');
  EXPECT_EQ(table[next], 'c');
  EXPECT_EQ(table[Row()], 'a');
  std::vector<uint32_t> met;
  for (Row r; r < table.next_number(); ++r) met.push_back(r.value);
  EXPECT_THAT(met, ElementsAre(0, 1, 2));
  EXPECT_EQ(table.next_number() - next, 1u);
  EXPECT_EQ(Row(1) + 1, next);
}

TEST(TypedNumberTest, ASpanSeesTheVectorsElements) {
  TypedVector<Row, char> table = {'a', 'b', 'c'};
  const TypedSpan<Row, char> span = table;
  span[Row(1)] = 'x';
  EXPECT_EQ(table[Row(1)], 'x');
  EXPECT_EQ(span.next_number(), table.next_number());
  EXPECT_THAT(span.only(Row(2)), ElementsAre('c'));
}

}  // namespace
}  // namespace vs
