// MD5 as dpkg records it, SHA-256 to remember bytes by.
#pragma once

#include <string>
#include <string_view>

namespace vs::test {

std::string md5_hex(std::string_view bytes);
std::string sha256_hex(std::string_view bytes);

}  // namespace vs::test
