// Making sure that whatever is written to a file after it was read moves its ctime.
//
// ctime is what a later run believes (inode_index.h), and there are two writers that it does not tell of:
//
// - One that writes through a shared mapping. The kernel moves ctime when a page that was clean, or not
//   mapped, is first written; what follows until the page is written back moves nothing. So the dirty pages
//   are written back first, which makes them write-protected: the next write to any of them moves ctime.
//   The stat that the reading is compared with is taken before that. A write in between is either before the
//   page was protected, and is read, or after, and moves ctime: the stat after the reading then differs.
// - One that is within write(2) for long. ctime moves when the call begins, and the bytes follow, seconds
//   later where the disk is slow. What somebody has open for writing is believed only if its ctime is older
//   than any such call lasts.
//
// Whether there is a writer at all a read lease tells: it is refused while the file is open for writing or
// mapped so. Without one, dirty pages of an earlier mapping do no harm: to write to them again it has to be
// mapped again, and the first touch of a page by a new mapping moves ctime.
//
// tmpfs never moves ctime for a mapping. Its files are believed like all others; no guest's data that is to
// last is there.
#pragma once

#include <cstdint>

namespace vs::backup {

// Between the stat and the reading of a regular file that is open for reading. Returns by how much the ctime
// must be older than the moment of looking, in ns, for what is read now to be believed by another run.
int64_t settle_writes(int fd);

// Without a writer: the clock ticks in up to 10 ms, the rest is for filesystems with coarse time stamps.
inline constexpr int64_t kRacyNs = 2'000'000'000;
// With one: a write(2) of 2 GiB, which is the most, at 4 MB/s.
inline constexpr int64_t kWriterNs = 600'000'000'000;

}  // namespace vs::backup
