// What a file's bytes are known by.
//
// Up to one piece (4 MiB): the SHA-256 of the bytes, which is also what the store of vunify names its masters
// by. Longer: the SHA-256 over the digests of its pieces, in order, runs of pieces without a byte that is not
// zero written as one number. So pieces can be read by several threads, holes cost nothing, and how a
// filesystem places holes does not matter.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace vs::backup {

using Sha256 = std::array<unsigned char, 32>;

inline constexpr uint64_t kPiece = 4u << 20;

Sha256 sha256(std::string_view bytes);
std::string hex(const Sha256& digest);

// Pieces may come in any order; those that never come are zeros.
class ContentDigest {
 public:
  explicit ContentDigest(uint64_t size) : size_(size) {}
  // The whole piece number `index` (shorter only at the end of the file), holes filled with zeros.
  void piece(uint64_t index, std::string_view bytes);
  // The same for a piece that is not all zeros and whose SHA-256 is known.
  void digest_piece(uint64_t index, const Sha256& digest) { pieces_[index] = digest; }
  Sha256 finish() const;

 private:
  uint64_t size_;
  std::map<uint64_t, Sha256> pieces_;
};

// For bytes that come in order, with gaps that are zeros: what an archive gives back.
class StreamDigest {
 public:
  explicit StreamDigest(uint64_t size) : digest_(size), size_(size) {}
  void add(uint64_t offset, std::string_view bytes);
  Sha256 finish();

 private:
  void close_piece();
  ContentDigest digest_;
  uint64_t size_, index_ = 0;
  std::string piece_;
};

}  // namespace vs::backup
