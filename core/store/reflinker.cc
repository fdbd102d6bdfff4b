#include "core/store/reflinker.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <vector>

namespace vs {
namespace {

// btrfs takes 16 MiB at most a call; xfs takes more and holds both locks for it, which a running guest would
// feel.
constexpr uint64_t kChunk = 16u << 20;

}  // namespace

Expected<uint64_t> share_extents(int source, int target, uint64_t offset, uint64_t length) {
  alignas(file_dedupe_range) char raw[sizeof(file_dedupe_range) + sizeof(file_dedupe_range_info)] = {};
  auto* range = reinterpret_cast<file_dedupe_range*>(raw);
  uint64_t shared = 0;
  while (shared < length) {
    *range = {};
    range->src_offset = offset + shared;
    range->src_length = std::min(kChunk, length - shared);
    range->dest_count = 1;
    range->info[0] = {};
    range->info[0].dest_fd = target;
    range->info[0].dest_offset = offset + shared;
    if (::ioctl(source, FIDEDUPERANGE, range) != 0)
      return problem_from_errno("share extents of", "two files");
    if (range->info[0].status == FILE_DEDUPE_RANGE_DIFFERS) return shared;
    if (range->info[0].status < 0)
      return problem_from(-range->info[0].status, "share extents of", "two files");
    if (range->info[0].bytes_deduped == 0) return shared;
    shared += range->info[0].bytes_deduped;
  }
  return shared;
}

}  // namespace vs
