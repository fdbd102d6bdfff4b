// What this process took at most.
#pragma once

#include <cstdint>

namespace vs {

// Resident, so far.
uint64_t peak_rss_bytes();

}  // namespace vs
