#include "core/seeded_hash.h"

#include <sys/random.h>
#include <xxhash.h>

#include <ctime>

namespace vs {
namespace {

uint64_t draw_seed() {
  uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, 0) == sizeof seed) return seed;
  timespec now{};  // a kernel without getrandom: still not the guest's to choose
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_nsec) ^ reinterpret_cast<uintptr_t>(&seed);
}

}  // namespace

uint64_t seeded_hash(std::string_view bytes) {
  static const uint64_t seed = draw_seed();
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

}  // namespace vs
