#include "unify/packages/hasher.h"

#include <openssl/evp.h>
#include <xxhash.h>

namespace vs::unify {
namespace {

// Fetched once: EVP_get_digest... fetches at each init otherwise, which costs more than hashing a small file.
const EVP_MD* message_digest(DigestAlgorithm algorithm) {
  static const EVP_MD* const md5 = EVP_MD_fetch(nullptr, "MD5", nullptr);
  static const EVP_MD* const sha1 = EVP_MD_fetch(nullptr, "SHA1", nullptr);
  static const EVP_MD* const sha224 = EVP_MD_fetch(nullptr, "SHA224", nullptr);
  static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  static const EVP_MD* const sha384 = EVP_MD_fetch(nullptr, "SHA384", nullptr);
  static const EVP_MD* const sha512 = EVP_MD_fetch(nullptr, "SHA512", nullptr);
  switch (algorithm) {
    case DigestAlgorithm::md5:
      return md5;
    case DigestAlgorithm::sha1:
      return sha1;
    case DigestAlgorithm::sha224:
      return sha224;
    case DigestAlgorithm::sha256:
      return sha256;
    case DigestAlgorithm::sha384:
      return sha384;
    case DigestAlgorithm::sha512:
      return sha512;
    case DigestAlgorithm::none:
      break;
  }
  return nullptr;
}

Key128 key_of(XXH128_hash_t hash) {
  return {hash.low64, hash.high64};
}

}  // namespace

Key128 xxh128(std::string_view bytes) {
  return key_of(XXH3_128bits(bytes.data(), bytes.size()));
}

struct FastHasher::State {
  XXH3_state_t* raw = XXH3_createState();
  ~State() { XXH3_freeState(raw); }
};
FastHasher::FastHasher() : state_(std::make_unique<State>()) {
  XXH3_128bits_reset(state_->raw);
}
FastHasher::~FastHasher() = default;
FastHasher::FastHasher(FastHasher&&) noexcept = default;
FastHasher& FastHasher::operator=(FastHasher&&) noexcept = default;
void FastHasher::update(std::string_view bytes) {
  XXH3_128bits_update(state_->raw, bytes.data(), bytes.size());
}
Key128 FastHasher::finish() const {
  return key_of(XXH3_128bits_digest(state_->raw));
}

struct Digester::State {
  EVP_MD_CTX* context = nullptr;
  ~State() { EVP_MD_CTX_free(context); }
};
Digester::Digester(DigestAlgorithm algorithm) : state_(std::make_unique<State>()) {
  if (const EVP_MD* md = message_digest(algorithm); md != nullptr) {
    state_->context = EVP_MD_CTX_new();
    EVP_DigestInit_ex(state_->context, md, nullptr);
  }
}
Digester::~Digester() = default;
Digester::Digester(Digester&&) noexcept = default;
Digester& Digester::operator=(Digester&&) noexcept = default;
void Digester::update(std::string_view bytes) {
  if (state_->context != nullptr) EVP_DigestUpdate(state_->context, bytes.data(), bytes.size());
}
std::string Digester::finish() {
  if (state_->context == nullptr) return {};
  unsigned char raw[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(state_->context, raw, &length);
  return {reinterpret_cast<char*>(raw), length};
}

}  // namespace vs::unify
