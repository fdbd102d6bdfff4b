// The time of a file as one number, which orders as times do: nanoseconds since 1970 from 1700-08-24 to
// 2239-05-09, and beyond that one step is a microsecond, up to more than 20,000 years away. The nanoseconds
// of all of them would need more than 64 bits: btrfs holds any time, ext4 those up to 2446.
#pragma once

#include <cstdint>
#include <ctime>

namespace vs {

// Any seconds since 1970, nanoseconds below 10^9. What is out of range becomes the end of the range.
int64_t file_time(int64_t seconds, uint32_t nanoseconds);
timespec timespec_of(int64_t time);  // of any number
bool in_nanoseconds(int64_t time);   // and not in microseconds
// The ends: a time of these may have been any beyond.
extern const int64_t kEarliestFileTime, kLatestFileTime;

}  // namespace vs
