// Digests as package databases write them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vs::unify {

inline constexpr std::array<int, 256> kHexValues = [] {
  std::array<int, 256> values{};
  for (int& value : values) value = -1;
  for (int i = 0; i < 10; ++i) values[size_t{'0'} + static_cast<size_t>(i)] = i;
  for (int i = 0; i < 6; ++i) {
    values[size_t{'a'} + static_cast<size_t>(i)] = 10 + i;
    values[size_t{'A'} + static_cast<size_t>(i)] = 10 + i;
  }
  return values;
}();

// Writes hex.size() / 2 bytes. False, and they mean nothing, if there is anything but pairs of digits. A
// table and no branch a digit: a guest has 10,000 digests.
inline bool hex_to_bytes(std::string_view hex, char* bytes) {
  if (hex.size() % 2 != 0) return false;
  int seen = 0;
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int high = kHexValues[static_cast<uint8_t>(hex[i])],
              low = kHexValues[static_cast<uint8_t>(hex[i + 1])];
    seen |= high | low;
    *bytes++ = static_cast<char>(high * 16 + low);
  }
  return seen >= 0;
}

}  // namespace vs::unify
