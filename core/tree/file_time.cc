#include "core/tree/file_time.h"

#include <limits>

namespace vs {
namespace {

constexpr int64_t kNano = 1'000'000'000, kMicro = 1'000'000;
// In seconds, on both sides of 1970: where microseconds begin, and how far these go with the numbers left.
constexpr int64_t kFine = 8'500'000'000;
constexpr int64_t kCoarse = (std::numeric_limits<int64_t>::max() - kFine * kNano) / kMicro;

// Rounded down, also below zero.
timespec split(int64_t value, int64_t a_second) {
  const int64_t rest = (value % a_second + a_second) % a_second;
  return {static_cast<time_t>((value - rest) / a_second), static_cast<long>(rest * (kNano / a_second))};
}

}  // namespace

const int64_t kLatestFileTime = kFine * kNano + kCoarse * kMicro, kEarliestFileTime = -kLatestFileTime;

int64_t file_time(int64_t seconds, uint32_t nanoseconds) {
  if (seconds >= kFine + kCoarse) return kLatestFileTime;
  if (seconds < -kFine - kCoarse) return kEarliestFileTime;
  if (seconds >= -kFine && seconds < kFine) return seconds * kNano + nanoseconds;
  const int64_t edge = seconds < 0 ? -kFine : kFine;
  return edge * kNano + (seconds - edge) * kMicro + nanoseconds / 1000;
}

timespec timespec_of(int64_t time) {
  if (in_nanoseconds(time)) return split(time, kNano);
  const int64_t edge = time < 0 ? -kFine : kFine;
  timespec found = split(time - edge * kNano, kMicro);
  found.tv_sec += edge;
  return found;
}

bool in_nanoseconds(int64_t time) {
  return time >= -kFine * kNano && time < kFine * kNano;
}

}  // namespace vs
