// Positions in tables, each a type of its own: what counts the rows of one table does not index another.
//
//   using RowNumber = TypedNumber<struct RowTag>;
//   TypedVector<RowNumber, FileRow> rows;
//   for (RowNumber r; r < rows.next_number(); ++r) use(rows[r]);
//
// A number is four bytes, begins at 0, and costs what a uint32_t costs. Where it goes to disk or into a
// message it is `value`, said in words.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vs {

template <class Tag>
struct TypedNumber {
  uint32_t value = 0;

  constexpr TypedNumber() = default;
  constexpr explicit TypedNumber(size_t number) : value(static_cast<uint32_t>(number)) {}
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 looks at the comparison with 0 of the compiler
  constexpr auto operator<=>(const TypedNumber&) const = default;

  constexpr TypedNumber& operator++() {
    ++value;
    return *this;
  }
  constexpr TypedNumber& operator--() {
    --value;
    return *this;
  }
  // So many further; and how many from one to the other.
  friend constexpr TypedNumber operator+(TypedNumber from, size_t count) {
    return TypedNumber(from.value + count);
  }
  friend constexpr uint32_t operator-(TypedNumber to, TypedNumber from) { return to.value - from.value; }
};

// A vector that is indexed by its own kind of number only.
template <class Number, class T>
struct TypedVector : std::vector<T> {
  using std::vector<T>::vector;
  T& operator[](Number number) { return this->data()[number.value]; }
  const T& operator[](Number number) const { return this->data()[number.value]; }
  // Of the element that would be added next: one beyond the last.
  Number next_number() const { return Number(this->size()); }
};

// The same for what somebody else owns.
template <class Number, class T>
struct TypedSpan : std::span<T> {
  using std::span<T>::span;
  T& operator[](Number number) const { return this->data()[number.value]; }
  Number next_number() const { return Number(this->size()); }
  // This element alone; there it is number 0.
  TypedSpan only(Number number) const { return TypedSpan(this->data() + number.value, 1); }
};

}  // namespace vs
