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

#include "core/typed_number.h"

namespace vs::backup {

// Where a name begins in the table.
using NameNumber = TypedNumber<struct NameTextTag>;

class NameTable {
 public:
  // The number of this name, the same each time. "" has NameNumber(). Throws Error beyond 4 GiB of different
  // names. No name is longer than NAME_MAX.
  NameNumber add(std::string_view name);
  std::string_view at(NameNumber number) const {
    return chunks_[number.value >> kChunkBits].get() + (number.value & (kChunk - 1));
  }
  NameTable();

 private:
  static constexpr unsigned kChunkBits = 20;
  static constexpr uint32_t kChunk = 1u << kChunkBits;
  void grow();
  NameNumber& slot_of(std::string_view name);
  std::vector<std::unique_ptr<char[]>> chunks_;
  uint32_t end_ = kChunk;          // in the last chunk
  std::vector<NameNumber> slots_;  // open addressing; kFree
  size_t used_ = 0;
};

}  // namespace vs::backup
