// Sizes as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace vs {

// Bytes as "38.2 MB": powers of 1000, one decimal, "512 B" below 1000.
std::string size_text(uint64_t bytes);

}  // namespace vs
