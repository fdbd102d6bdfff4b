#include "backup/archive/entry_bytes.h"

namespace vs::backup {

Expected<Sha256> read_bytes(EntryStream& stream, uint64_t size, const std::string& archive,
                            const ByteSink& sink) {
  StreamDigest digest(size);
  uint64_t end = 0;
  for (;;) {
    const auto data = stream.data();
    if (!data) return data.error();
    if (!*data) return digest.finish();
    const auto& [at, bytes] = **data;
    if (at < end || at > size || bytes.size() > size - at)
      return Problem{0, archive + ": more bytes than the file has"};
    digest.add(at, bytes);
    end = at + bytes.size();
    if (auto taken = sink(**data); !taken) return taken.error();
  }
}

}  // namespace vs::backup
