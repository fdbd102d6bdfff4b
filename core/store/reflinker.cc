#include "core/store/reflinker.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace vs {
namespace {

// btrfs takes 16 MiB at most a call; xfs takes more and holds both locks for it, which a running guest would
// feel.
constexpr uint64_t kChunk = 16u << 20;

}  // namespace

Expected<uint64_t> share_extents(int source, int target, uint64_t offset, uint64_t length,
                                 const Cancel* cancel) {
  alignas(file_dedupe_range) char raw[sizeof(file_dedupe_range) + sizeof(file_dedupe_range_info)] = {};
  auto* range = reinterpret_cast<file_dedupe_range*>(raw);
  uint64_t shared = 0;
  while (shared < length) {
    if (cancel != nullptr && cancel->stop()) return Problem{ECANCELED, ""};
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

Expected<uint64_t> exclusive_bytes(int fd) {
  constexpr size_t kAtOnce = 256;
  std::vector<uint64_t> raw((sizeof(fiemap) + kAtOnce * sizeof(fiemap_extent)) / sizeof(uint64_t) + 1);
  auto* map = reinterpret_cast<fiemap*>(raw.data());
  uint64_t sum = 0, from = 0;
  for (bool last = false; !last;) {
    std::fill(raw.begin(), raw.end(), 0);
    map->fm_start = from;
    map->fm_length = FIEMAP_MAX_OFFSET - from;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = kAtOnce;
    if (::ioctl(fd, FS_IOC_FIEMAP, map) != 0) return problem_from_errno("ask for the extents of", "a file");
    last = map->fm_mapped_extents == 0;
    for (uint32_t i = 0; i < map->fm_mapped_extents; ++i) {
      const fiemap_extent& extent = map->fm_extents[i];
      if ((extent.fe_flags & FIEMAP_EXTENT_SHARED) == 0) sum += extent.fe_length;
      from = extent.fe_logical + extent.fe_length;
      last = last || (extent.fe_flags & FIEMAP_EXTENT_LAST) != 0;
    }
  }
  return sum;
}

}  // namespace vs
