#include "backup/mount/stored_file.h"

#include <algorithm>
#include <cerrno>

namespace vs::backup {
namespace {

// What the stream says of the tar entry does not name the archive; what the archive says does.
Problem named(const FramedFile& archive, const Problem& problem) {
  const bool bare = problem.message.starts_with(':');
  return {problem.code, (bare ? archive.path() : "") + problem.message};
}

}  // namespace

Expected<std::shared_ptr<const std::string>> StoredFile::frame(size_t number) const {
  return frames_.get({archive_, number}, [&]() -> Expected<FrameCache::Made> {
    auto bytes = archive_->unpack(number);
    if (!bytes) return bytes.error();
    const size_t size = bytes->size();
    return FrameCache::Made{std::make_shared<const std::string>(std::move(*bytes)), size};
  });
}

Result StoredFile::find_extents() {
  const auto& frames = archive_->frames();
  size_t next = archive_->frame_of(entry_.offset);
  if (next >= frames.size()) return Problem{0, archive_->path() + ": the part that holds it is lost"};
  uint64_t skip = entry_.offset - frames[next].offset;
  EntryStream stream([&]() -> Expected<std::string> {
    while (next < frames.size() && frames[next].size == 0) ++next;
    if (next >= frames.size()) return std::string();
    const auto bytes = frame(next++);
    if (!bytes) return bytes.error();
    return (*bytes)->substr(static_cast<size_t>(std::exchange(skip, 0)));
  });
  const auto entry = stream.next();
  if (!entry) return named(*archive_, entry.error());
  if (!*entry || (*entry)->offset != 0 || (*entry)->type != 'f' || (*entry)->size != entry_.size)
    return Problem{0, archive_->path() + ": holds something else where the catalog says it is"};
  auto extents = stream.extents(archive_->content_size() - entry_.offset);
  if (!extents) return named(*archive_, extents.error());
  uint64_t end = 0;
  for (const auto& extent : *extents) {
    if (extent.offset < end || extent.offset > entry_.size || extent.size > entry_.size - extent.offset)
      return Problem{0, archive_->path() + ": more bytes than the file has"};
    end = extent.offset + extent.size;
  }
  extents_ = std::move(*extents);
  return Ok{};
}

Result StoredFile::compare_digest() const {
  const auto all = bytes(0, entry_.size);
  if (!all) return all.error();
  if (sha256(*all) != entry_.content)
    return Problem{0, "its bytes in " + archive_->path() + " are not what they were (digest differs)"};
  return Ok{};
}

Problem StoredFile::damaged(const Problem& why) const {
  return {EIO, shown_ + ": " + why.message};
}

Result StoredFile::prepare() {
  const std::lock_guard lock(mutex_);
  if (!prepared_) {
    prepared_ = find_extents();
    if (*prepared_ && entry_.size <= kPiece) prepared_ = compare_digest();
  }
  return *prepared_;
}

Expected<std::string> StoredFile::read(uint64_t offset, uint64_t size) {
  if (offset >= entry_.size) return std::string();
  if (const auto ready = prepare(); !ready) return damaged(ready.error());
  auto part = bytes(offset, std::min(size, entry_.size - offset));
  if (!part) return damaged(part.error());
  return part;
}

Expected<std::string> StoredFile::bytes(uint64_t offset, uint64_t size) const {
  std::string out(static_cast<size_t>(size), '\0');
  auto extent = std::upper_bound(extents_.begin(), extents_.end(), offset,
                                 [](uint64_t at, const auto& e) { return at < e.offset + e.size; });
  for (; extent != extents_.end() && extent->offset < offset + size; ++extent)
    if (auto copied = copy(*extent, offset, out); !copied) return copied.error();
  return out;
}

// What an extent has of the bytes from `offset` on.
Result StoredFile::copy(const EntryStream::Extent& extent, uint64_t offset, std::string& to) const {
  uint64_t at = std::max(offset, extent.offset);
  const uint64_t end = std::min(offset + to.size(), extent.offset + extent.size);
  while (at < end) {
    const uint64_t unpacked = entry_.offset + extent.stored + (at - extent.offset);
    const size_t number = archive_->frame_of(unpacked);
    if (number >= archive_->frames().size())
      return Problem{0, archive_->path() + ": the part that holds it is lost"};
    const auto bytes = frame(number);
    if (!bytes) return bytes.error();
    const uint64_t within = unpacked - archive_->frames()[number].offset;
    const uint64_t size = std::min<uint64_t>(end - at, (*bytes)->size() - within);
    std::copy_n((*bytes)->data() + within, size, to.data() + (at - offset));
    at += size;
  }
  return Ok{};
}

Expected<uint64_t> StoredFile::seek(uint64_t offset, bool hole) {
  if (offset >= entry_.size) return Problem{ENXIO, ""};
  if (const auto ready = prepare(); !ready) return damaged(ready.error());
  auto extent = std::upper_bound(extents_.begin(), extents_.end(), offset,
                                 [](uint64_t at, const auto& e) { return at < e.offset + e.size; });
  if (!hole) {
    if (extent == extents_.end()) return Problem{ENXIO, ""};
    return std::max(offset, extent->offset);
  }
  for (; extent != extents_.end() && extent->offset <= offset; ++extent)
    offset = extent->offset + extent->size;
  return offset;
}

}  // namespace vs::backup
