// Bytes as hex digits, in lower case.
#pragma once

#include <string>
#include <string_view>

namespace vs {

std::string hex(std::string_view bytes);
// False, and `bytes` means nothing, if `text` is anything but pairs of lower-case digits.
bool from_hex(std::string_view text, std::string& bytes);

}  // namespace vs
