// The read loops of the toolkit: read(2) and pread(2) may give less than was asked for, and a signal may
// interrupt them.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace vs {

// Reads until `size` bytes are there or the file ends. Returns how many came: less than `size` only at the
// end of the file (or of a pipe that nobody writes to any more). -1 with errno set if reading failed; what
// came before the failure is not counted. Never fails with EINTR.
ssize_t read_full(int fd, void* to, size_t size);
ssize_t pread_full(int fd, void* to, size_t size, uint64_t offset);

}  // namespace vs
