#include "backup/source/digest.h"

#include <openssl/evp.h>

#include <algorithm>

#include "core/error.h"

namespace vs::backup {
namespace {

bool all_zero(std::string_view bytes) {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

}  // namespace

Sha256 sha256(std::string_view bytes) {
  Sha256 digest{};
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1)
    throw Error("SHA-256 failed");
  return digest;
}

std::string hex(const Sha256& digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char c : digest) {
    text += kDigits[c >> 4];
    text += kDigits[c & 15];
  }
  return text;
}

void ContentDigest::piece(uint64_t index, std::string_view bytes) {
  if (size_ > kPiece && all_zero(bytes)) return;
  pieces_[index] = sha256(bytes);
}

Sha256 ContentDigest::finish() const {
  if (size_ <= kPiece) {
    const auto it = pieces_.find(0);
    return it != pieces_.end() ? it->second : sha256(std::string(static_cast<size_t>(size_), '\0'));
  }
  std::string text = "pieces of 4 MiB\n";
  const auto zeros = [&](uint64_t count) {
    if (count > 0) text += "zero " + std::to_string(count) + "\n";
  };
  uint64_t next = 0;
  for (const auto& [index, digest] : pieces_) {
    zeros(index - next);
    text += hex(digest) + "\n";
    next = index + 1;
  }
  zeros((size_ + kPiece - 1) / kPiece - next);
  return sha256(text + "size " + std::to_string(size_) + "\n");
}

void StreamDigest::close_piece() {
  if (piece_.empty()) return;
  piece_.resize(
      static_cast<size_t>(std::min<uint64_t>(kPiece, size_ > index_ * kPiece ? size_ - index_ * kPiece : 0)),
      '\0');
  digest_.piece(index_, piece_);
  piece_.clear();
}

void StreamDigest::add(uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    if (const uint64_t index = offset / kPiece; index != index_) {
      close_piece();
      index_ = index;
    }
    const uint64_t at = offset % kPiece;
    const size_t take = static_cast<size_t>(std::min<uint64_t>(bytes.size(), kPiece - at));
    if (piece_.size() < at) piece_.resize(static_cast<size_t>(at), '\0');
    piece_.append(bytes.substr(0, take));
    offset += take;
    bytes.remove_prefix(take);
  }
}

Sha256 StreamDigest::finish() {
  close_piece();
  return digest_.finish();
}

}  // namespace vs::backup
