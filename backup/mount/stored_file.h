// The bytes of one file of an archive, any part of them: only those frames are unpacked that hold it.
//
// Wrong bytes are never given. The entry must be what the catalog says (type and size). A file of up to one
// piece (4 MiB) is compared with its digest when it is first read; of a longer one each frame is proved by
// its own checksum, because its digest is one of all its bytes. What cannot be proved is a problem.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backup/archive/archive_reader.h"
#include "backup/archive/catalog.h"
#include "backup/mount/bounded_cache.h"

namespace vs::backup {

// Unpacked frames, by archive and number; the weight is their bytes.
using FrameCache =
    BoundedCache<std::pair<std::shared_ptr<FramedFile>, size_t>, std::shared_ptr<const std::string>>;

// Thread safe.
class StoredFile {
 public:
  // `shown` names it in problems, which are EIO. `frames` must live as long.
  StoredFile(std::string shown, Entry entry, std::shared_ptr<FramedFile> archive, FrameCache& frames)
      : shown_(std::move(shown)), entry_(std::move(entry)), archive_(std::move(archive)), frames_(frames) {}

  // Fewer bytes than asked for only at the end of the file.
  Expected<std::string> read(uint64_t offset, uint64_t size);
  // The first byte from `offset` on that is data, or in a hole (the end of the file is one). ENXIO: none.
  Expected<uint64_t> seek(uint64_t offset, bool hole);

 private:
  Result prepare();  // once: extents_
  Result find_extents();
  Result compare_digest() const;
  Expected<std::string> bytes(uint64_t offset, uint64_t size) const;
  Result copy(const EntryStream::Extent& extent, uint64_t offset, std::string& to) const;
  Expected<std::shared_ptr<const std::string>> frame(size_t number) const;

  Problem damaged(const Problem& why) const;

  const std::string shown_;
  const Entry entry_;
  const std::shared_ptr<FramedFile> archive_;
  FrameCache& frames_;
  std::mutex mutex_;
  std::optional<Result> prepared_;
  std::vector<EntryStream::Extent> extents_;  // `stored` is from the entry's beginning
};

}  // namespace vs::backup
