#include "backup/source/name_table.h"

#include <cstring>

#include "core/error.h"
#include "core/seeded_hash.h"

namespace vs::backup {
namespace {

constexpr NameNumber kFree{~0u};
constexpr size_t kMostChunks = 4095;  // the last would hold kFree

}  // namespace

NameTable::NameTable() : slots_(1024, kFree) {
  // So that workers read it while it grows; 32 KiB.
  chunks_.reserve(kMostChunks);
  add("");
}

NameNumber& NameTable::slot_of(std::string_view name) {
  const size_t mask = slots_.size() - 1;
  for (size_t i = seeded_hash(name) & mask;; i = (i + 1) & mask)
    if (slots_[i] == kFree || at(slots_[i]) == name) return slots_[i];
}

void NameTable::grow() {
  std::vector<NameNumber> old(slots_.size() * 2, kFree);
  old.swap(slots_);
  for (const NameNumber number : old)
    if (number != kFree) slot_of(at(number)) = number;
}

NameNumber NameTable::add(std::string_view name) {
  if (used_ * 4 >= slots_.size() * 3) grow();
  NameNumber& slot = slot_of(name);
  if (slot != kFree) return slot;
  if (kChunk - end_ < name.size() + 1) {
    if (chunks_.size() == kMostChunks) throw Error("more than 4 GiB of different file names");
    chunks_.push_back(std::make_unique<char[]>(kChunk));
    end_ = 0;
  }
  std::memcpy(chunks_.back().get() + end_, name.data(), name.size());
  slot = NameNumber((chunks_.size() - 1) << kChunkBits | end_);
  end_ += static_cast<uint32_t>(name.size() + 1);  // chunks begin as zeros
  ++used_;
  return slot;
}

}  // namespace vs::backup
