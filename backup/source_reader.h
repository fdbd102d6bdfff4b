// Reads one object of a guest that may be running and hostile: details, and bytes of files, by descriptor
// beneath the guest's root.
//
// What was scanned may have changed. The stat of the open descriptor is what counts; a file is read again, up
// to three times, until stat before and after are the same, and marked inconsistent if they never were. What
// became another kind of thing is named and left for the next run.
#pragma once

#include <memory>

#include "backup/archive/target.h"
#include "backup/source/settle_writes.h"
#include "core/cancel.h"

namespace vs::backup {

struct ReadObject {
  Inode inode;  // as found now
  InodeDetails details;
  Content content;
  int64_t doubt_ns = kRacyNs;  // see settle_writes()
};

enum class ReadState { done, gone, failed };  // gone: not an error

struct ReadResult {
  ReadState state = ReadState::done;
  Problem problem;
};

// Of a file (of at most one piece) the bytes too.
ReadResult read_object(const ScannedHost& host, const Item& item, ReadObject& object);

// Opens a file larger than one piece and divides it.
ReadResult open_large(const ScannedHost& host, const Item& item, const Cancel& cancel,
                      std::shared_ptr<LargeFile>& large);
// The bytes of one part; what the file lost meanwhile, or cannot be read, is zeros, and it is marked changed.
// The last part closes the matter (details complete).
void read_part(LargeFile& large, size_t part, std::string& data);
void finish_large(LargeFile& large);

// The digest of any open file, for comparisons. Holes are not read: a guest makes a file of 8 EiB that takes
// no disk, which no machine reads in a lifetime. ECANCELED if `cancel` (may be null) asked to stop.
Expected<Sha256> digest_of(int fd, uint64_t size, const std::string& object, const Cancel* cancel);

using DataRanges = std::vector<std::pair<uint64_t, uint64_t>>;  // (offset, length), in order

// What a map of data ranges may be like. Gaps in a file of very many ranges are filled, the smallest first,
// but none larger than `largest_gap`: a file of few blocks in 8 EiB would become as long as it claims to be.
struct RangeLimits {
  size_t ranges = 100'000;         // more than these, and gaps are filled: the map would be longer than they
  uint64_t largest_gap = 1 << 16;  // 64 KiB: what is filled is at most 16 times what the guest has on disk
  size_t most = 1'000'000;         // about 20 MB of text in the archive
};
// Data ranges by SEEK_DATA and SEEK_HOLE. EFBIG: more ranges than `limits` allow. ECANCELED as above.
Expected<DataRanges> data_ranges(int fd, uint64_t size, const Cancel* cancel, const RangeLimits& limits = {});

}  // namespace vs::backup
