// The reading side of an archive: frames, seek table, and the entries that libarchive finds in any bytes.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "backup/archive/archive_reader.h"

using namespace vs::backup;

namespace {

void read_entries(EntryStream& stream) {
  uint64_t bytes = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto entry = stream.next();
    if (!entry || !*entry) return;
    for (;;) {
      const auto data = stream.data();
      if (!data || !*data || (bytes += (*data)->bytes.size()) > (8u << 20)) break;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  {
    bool given = false;
    EntryStream stream(
        [&]() -> vs::Expected<std::string> { return std::exchange(given, true) ? std::string() : bytes; });
    read_entries(stream);
  }
  const std::string path = "/tmp/fuzz-archive-" + std::to_string(::getpid());
  {
    const int copy = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (copy < 0 || ::write(copy, data, size) != static_cast<ssize_t>(size)) std::abort();
    ::close(copy);
  }
  if (auto file = FramedFile::open(AT_FDCWD, path, path); file) {
    (void)(*file)->payload();
    for (size_t i = 0; i < (*file)->frames().size() && i < 50; ++i)
      if ((*file)->frames()[i].size <= (64u << 20)) (void)(*file)->unpack(i);
    for (const uint64_t offset : {uint64_t{0}, uint64_t{512}, ~uint64_t{0}}) (void)(*file)->frame_of(offset);
    EntryStream stream(*file, 0);
    read_entries(stream);
    EntryStream mapped(*file, 0);
    if (const auto entry = mapped.next(); entry && *entry) (void)mapped.extents((*file)->content_size());
  }
  ::unlink(path.c_str());
  return 0;
}
