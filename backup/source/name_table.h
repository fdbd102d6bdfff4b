// File names of a whole run, each kept once: guests of one release have the same names, and so have many
// directories of one guest.
//
// Names lie in chunks that do not move, so a view stays valid and may be read while others are added; adding
// is for one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace vs::backup {

class NameTable {
 public:
  // The number of this name, the same each time. "" has 0. Throws Error beyond 4 GiB of different names. No
  // name is longer than NAME_MAX.
  uint32_t add(std::string_view name);
  std::string_view at(uint32_t number) const {
    return chunks_[number >> kChunkBits].get() + (number & (kChunk - 1));
  }
  NameTable();

 private:
  static constexpr unsigned kChunkBits = 20;
  static constexpr uint32_t kChunk = 1u << kChunkBits;
  void grow();
  uint32_t& slot_of(std::string_view name);
  std::vector<std::unique_ptr<char[]>> chunks_;
  uint32_t end_ = kChunk;        // in the last chunk
  std::vector<uint32_t> slots_;  // open addressing, numbers; kFree
  size_t used_ = 0;
};

}  // namespace vs::backup
