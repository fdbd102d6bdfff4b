// Chance that is the same for the same seed.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace vs::test {

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  // 0 to count - 1.
  size_t below(size_t count) { return count == 0 ? 0 : static_cast<size_t>(random_() % count); }
  bool one_in(size_t count) { return below(count) == 0; }
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[below(from.size())];
  }
  // Half of them can be compressed.
  std::string bytes(size_t size) {
    std::string text(size, static_cast<char>('a' + below(26)));
    if (one_in(2))
      for (char& byte : text) byte = static_cast<char>(random_());
    return text;
  }

 private:
  std::mt19937_64 random_;
};

}  // namespace vs::test
