// Digests of file contents. XXH3-128 groups what is probably equal (bytes decide afterwards); the digests
// that package databases record, and SHA-256 for later checks of masters, come from OpenSSL.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "unify/packages/package_index.h"

namespace vs::unify {

struct Key128 {
  uint64_t low = 0, high = 0;
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 looks at the comparison with 0 of the compiler
  auto operator<=>(const Key128&) const = default;
  bool operator==(const Key128&) const = default;
};
struct Key128Hash {
  size_t operator()(const Key128& key) const { return key.low; }
};

Key128 xxh128(std::string_view bytes);

// XXH3-128 of a stream.
class FastHasher {
 public:
  FastHasher();
  ~FastHasher();
  FastHasher(FastHasher&&) noexcept;
  FastHasher& operator=(FastHasher&&) noexcept;
  void update(std::string_view bytes);
  Key128 finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A cryptographic (or historic: MD5) digest of a stream; algorithm none takes everything and gives "".
class Digester {
 public:
  explicit Digester(DigestAlgorithm algorithm);
  ~Digester();
  Digester(Digester&&) noexcept;
  Digester& operator=(Digester&&) noexcept;
  void update(std::string_view bytes);
  std::string finish();  // raw bytes

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vs::unify
