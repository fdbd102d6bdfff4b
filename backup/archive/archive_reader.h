// The entries of an archive from any point on, as libarchive reads them: our archives are read back by
// somebody else's eyes.
//
// The bytes may be anything. libarchive bounds what headers may take, frames bound what is unpacked, and
// nothing here trusts a name or a size further.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backup/archive/compressor.h"

namespace vs::backup {

struct StreamEntry {
  uint64_t offset = 0;  // of the entry's first header in what the archive unpacks to
  std::string path, link;
  char type = '?';  // f d l p c b, h for a hard link
  uint32_t mode = 0;
  uint64_t size = 0;
  uint32_t uid = 0, gid = 0;
};

// Where bytes come from: returns the next run of them, "" at the end. A problem ends the stream.
using ByteSource = std::function<Expected<std::string>()>;

class EntryStream {
 public:
  // Begins at `offset`, which must be where an entry begins.
  EntryStream(const std::shared_ptr<FramedFile>& file, uint64_t offset);
  explicit EntryStream(ByteSource source);  // for tests and the fuzzer
  ~EntryStream();
  EntryStream(const EntryStream&) = delete;

  // The next entry; nothing at the end of the archive.
  Expected<std::optional<StreamEntry>> next();
  // The next data of the entry (where it goes, bytes valid until the next call); nothing at its end.
  struct Data {
    uint64_t offset;
    std::string_view bytes;
  };
  Expected<std::optional<Data>> data();
  // Where the bytes of the file that the stream stands at lie: `size` bytes from `offset` on of the file are
  // `stored` bytes behind the beginning of the stream. In order; what is in none of them is zeros. The source
  // is asked for the header and the map of holes alone, and the rest of the entry, of a stream of
  // `stream_size` bytes, is passed without being read; of this stream nothing else can be asked then.
  struct Extent {
    uint64_t offset = 0, stored = 0, size = 0;
  };
  Expected<std::vector<Extent>> extents(uint64_t stream_size);
  // The frames that were unpacked so far: from the first, up to but without the second.
  std::pair<size_t, size_t> frames_read() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vs::backup
