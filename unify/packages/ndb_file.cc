#include "unify/packages/ndb_file.h"

#include <fmt/format.h>

#include <cstdint>

namespace vs::unify {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kBlock = 16;
constexpr uint64_t kSlot = 16;
constexpr uint64_t kHeader = 32;
constexpr uint64_t kBlobHead = 16;
constexpr uint64_t kBlobTail = 12;
constexpr size_t kMaxTroubles = 10;

// `at` must leave four bytes.
uint32_t number(std::string_view file, uint64_t at) {
  uint32_t value = 0;
  for (unsigned i = 0; i < 4; ++i) value |= uint32_t{static_cast<uint8_t>(file[at + i])} << (8 * i);
  return value;
}

bool has_magic(std::string_view file, uint64_t at, std::string_view magic) {
  return file.substr(at, 4) == magic;
}

// RFC 1950. The sums are reduced before they can overflow: 5552 is the largest number of bytes for which that
// holds.
uint32_t adler32(std::string_view bytes) {
  uint32_t low = 1, high = 0;
  while (!bytes.empty()) {
    const std::string_view piece = bytes.substr(0, 5552);
    bytes.remove_prefix(piece.size());
    for (const char c : piece) {
      low += static_cast<uint8_t>(c);
      high += low;
    }
    low %= 65521;
    high %= 65521;
  }
  return high << 16 | low;
}

struct Slot {
  uint32_t package, block, blocks;
};

// Empty when the blob is right, and then `header` is what is in it.
const char* take_blob(std::string_view file, const Slot& slot, uint64_t first_block,
                      std::string_view& header) {
  const uint64_t start = slot.block * kBlock, size = slot.blocks * kBlock;
  if (slot.block < first_block || start > file.size() || size > file.size() - start)
    return "blocks inside the file";
  if (size < kBlobHead + kBlobTail) return "more blocks";
  const std::string_view blob = file.substr(start, size);
  const uint64_t tail = size - kBlobTail, length = number(blob, 12);
  if (!has_magic(blob, 0, "BlbS") || !has_magic(blob, tail + 8, "BlbE")) return "the marks of a blob";
  if (number(blob, 4) != slot.package) return "the blob of the same package";
  if ((kBlobHead + length + kBlobTail + kBlock - 1) / kBlock != slot.blocks ||
      number(blob, tail + 4) != length)
    return "as many blocks as the header is long";
  if (number(blob, tail) != adler32(blob.substr(0, tail))) return "the right checksum";
  header = blob.substr(kBlobHead, length);
  return nullptr;
}

}  // namespace

NdbContent parse_ndb(std::string_view file) {
  NdbContent content;
  const auto unusable = [&](std::string why) {
    content.troubles.push_back(std::move(why));
    return content;
  };
  if (file.size() < kPage || !has_magic(file, 0, "RpmP"))
    return unusable("expected the header of an ndb database");
  if (number(file, 4) != 0) return unusable(fmt::format("expected version 0, found {}", number(file, 4)));
  const uint64_t pages = number(file, 12);
  if (pages == 0 || pages > file.size() / kPage)
    return unusable("expected the pages of slots inside the file (truncated?)");
  content.usable = true;

  uint64_t blocks_left =
      file.size() / kBlock;  // slots that name the same blocks again and again are not honest
  for (uint64_t at = kHeader; at < pages * kPage; at += kSlot) {
    const Slot slot{number(file, at + 4), number(file, at + 8), number(file, at + 12)};
    const bool marked = has_magic(file, at, "Slot");
    if (marked && slot.block == 0) continue;
    std::string_view header;
    const char* expected =
        marked ? take_blob(file, slot, pages * kPage / kBlock, header) : "the mark of a slot";
    if (expected == nullptr && slot.blocks > blocks_left) expected = "blobs that do not overlap";
    if (expected == nullptr) {
      blocks_left -= slot.blocks;
      content.headers.push_back(header);
    } else if (content.troubles.size() < kMaxTroubles) {
      content.troubles.push_back(fmt::format("slot at byte {}: expected {}", at, expected));
    }
  }
  return content;
}

}  // namespace vs::unify
