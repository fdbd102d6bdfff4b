#include "core/full_io.h"

#include <unistd.h>

#include <cerrno>

namespace vs {
namespace {

// `read_some(to, size, done)` is one call of the system after `done` bytes have come.
template <class ReadSome>
ssize_t until_full(void* to, size_t size, const ReadSome& read_some) {
  size_t done = 0;
  while (done < size) {
    const ssize_t got = read_some(static_cast<char*>(to) + done, size - done, done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return static_cast<ssize_t>(done);
}

}  // namespace

ssize_t read_full(int fd, void* to, size_t size) {
  return until_full(to, size, [&](char* at, size_t rest, size_t) { return ::read(fd, at, rest); });
}

ssize_t pread_full(int fd, void* to, size_t size, uint64_t offset) {
  return until_full(to, size, [&](char* at, size_t rest, size_t done) {
    return ::pread(fd, at, rest, static_cast<off_t>(offset + done));
  });
}

}  // namespace vs
