// How all that reports writes sizes, counts, times and names: one place, so that text, page and vdu agree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace vs::unify {

// "1,234,567".
std::string count_text(uint64_t count);
// part of whole as "73.9 %"; "0.0 %" of nothing.
std::string percent_text(uint64_t part, uint64_t whole);
// Seconds since the epoch as "2026-11-24 05:51 UTC", "2026-11-24", "05:51".
std::string utc_text(int64_t time);
std::string utc_date(int64_t time);
std::string utc_clock(int64_t time);

// `bytes` in units of `unit`, rounded up as du does.
uint64_t in_units(uint64_t bytes, uint64_t unit);
// "512", "K" or "KiB" (1024), "kB" or "KB" (1000), "4K", M, G, T likewise. False if it is none of these or 0.
bool parse_block_size(std::string_view text, uint64_t& unit);

// Columns that the escaped name takes on a screen (wide East Asian characters count twice).
size_t shown_columns(std::string_view name);
// The longest start of a guest-made name that takes at most so many columns when escaped; never ends inside a
// character. The whole name if it fits.
std::string_view cut_name(std::string_view name, size_t columns);

}  // namespace vs::unify
