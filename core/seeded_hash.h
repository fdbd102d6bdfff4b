// A hash for tables in memory whose keys a guest chooses: with a seed that is drawn once a process, so that
// nobody can prepare keys which all fall into one bucket. Never for what is kept or compared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vs {

uint64_t seeded_hash(std::string_view bytes);

// For std::unordered_set<std::string, SeededHash> and the like.
struct SeededHash {
  size_t operator()(std::string_view bytes) const { return seeded_hash(bytes); }
};

}  // namespace vs
