#include "tests/support/digest.h"

#include <openssl/evp.h>

#include <stdexcept>

namespace vs::test {
namespace {

std::string hex_of(const EVP_MD* algorithm, std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest, &size, algorithm, nullptr) != 1)
    throw std::runtime_error("EVP_Digest failed");
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    hex += "0123456789abcdef"[digest[i] >> 4];
    hex += "0123456789abcdef"[digest[i] & 15];
  }
  return hex;
}

}  // namespace

std::string md5_hex(std::string_view bytes) {
  return hex_of(EVP_md5(), bytes);
}
std::string sha256_hex(std::string_view bytes) {
  return hex_of(EVP_sha256(), bytes);
}

}  // namespace vs::test
