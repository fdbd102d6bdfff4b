// More tables that are indexed by their own kind of number only (typed_number.h has the vector): one whose
// elements stay where they are, and one of bits. And such numbers as keys of unordered maps and sets.
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "core/typed_number.h"

namespace vs {

template <class Number, class Container>
struct TypedTable : Container {
  using Container::Container;
  typename Container::reference operator[](Number number) { return Container::operator[](number.value); }
  typename Container::const_reference operator[](Number number) const {
    return Container::operator[](number.value);
  }
  // Of the element that would be added next: one beyond the last.
  Number next_number() const { return Number(this->size()); }
};

// Its elements stay where they are when others are added.
template <class Number, class T>
using TypedDeque = TypedTable<Number, std::deque<T>>;

template <class Number>
using TypedBits = TypedTable<Number, std::vector<bool>>;

}  // namespace vs

template <class Tag>
struct std::hash<vs::TypedNumber<Tag>> {
  size_t operator()(vs::TypedNumber<Tag> number) const noexcept {
    return std::hash<uint32_t>()(number.value);
  }
};
