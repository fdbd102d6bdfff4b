#include "backup/archive/archive_reader.h"

#include <archive.h>
#include <archive_entry.h>

#include <cerrno>

#include <algorithm>

namespace vs::backup {
namespace {

// Given for bytes that nobody will look at.
char zeros[1 << 20];

}  // namespace

struct EntryStream::Impl {
  ::archive* reader = nullptr;
  ByteSource source;
  std::string chunk;
  std::optional<Problem> trouble;
  uint64_t base = 0;
  size_t first_frame = 0, next_frame = 0;
  uint64_t given = 0;                  // to libarchive
  std::optional<uint64_t> imagined{};  // zeros are given from now on, until it is so much in all
  std::string shown;

  ~Impl() {
    if (reader != nullptr) archive_read_free(reader);
  }

  static la_ssize_t read(::archive* reader, void* self, const void** bytes) {
    auto& impl = *static_cast<Impl*>(self);
    if (impl.imagined) {
      const uint64_t size = std::min<uint64_t>(sizeof zeros, *impl.imagined - impl.given);
      impl.given += size;
      *bytes = zeros;
      return static_cast<la_ssize_t>(size);
    }
    try {
      auto next = impl.source();
      if (!next) {
        impl.trouble = next.error();
        archive_set_error(reader, EIO, "%s", next.error().message.c_str());
        return -1;
      }
      impl.chunk = std::move(*next);
    } catch (const std::exception& error) {  // none may pass through C
      impl.trouble = Problem{0, error.what()};
      return -1;
    }
    impl.given += impl.chunk.size();
    *bytes = impl.chunk.data();
    return static_cast<la_ssize_t>(impl.chunk.size());
  }

  Problem problem(const char* tried) {
    if (trouble) return *trouble;
    const char* said = archive_error_string(reader);
    return Problem{0, shown + ": " + tried + ": " + (said != nullptr ? said : "unknown error")};
  }

  void open() {
    reader = archive_read_new();
    archive_read_support_format_tar(reader);
    archive_read_support_filter_none(reader);
    // An empty source is an empty archive.
    archive_read_support_format_empty(reader);
    archive_read_set_format_option(reader, "tar", "hdrcharset", "BINARY");
    if (archive_read_open(reader, this, nullptr, &Impl::read, nullptr) != ARCHIVE_OK)
      trouble = problem("open");
  }
};

EntryStream::EntryStream(const std::shared_ptr<FramedFile>& file, uint64_t offset)
    : impl_(std::make_unique<Impl>()) {
  impl_->shown = file->path();
  impl_->base = offset;
  const size_t first = impl_->first_frame = impl_->next_frame = file->frame_of(offset);
  uint64_t skip = first < file->frames().size() ? offset - file->frames()[first].offset : 0;
  impl_->source = [file, &frame = impl_->next_frame, skip]() mutable -> Expected<std::string> {
    while (frame < file->frames().size() && file->frames()[frame].size == 0) ++frame;
    if (frame >= file->frames().size()) return std::string();
    auto bytes = file->unpack(frame++);
    if (bytes && skip > 0) bytes->erase(0, static_cast<size_t>(skip));
    skip = 0;
    return bytes;
  };
  impl_->open();
}

EntryStream::EntryStream(ByteSource source) : impl_(std::make_unique<Impl>()) {
  impl_->source = std::move(source);
  impl_->open();
}

EntryStream::~EntryStream() = default;

std::pair<size_t, size_t> EntryStream::frames_read() const {
  return {impl_->first_frame, impl_->next_frame};
}

Expected<std::optional<StreamEntry>> EntryStream::next() {
  if (impl_->trouble) return *impl_->trouble;
  archive_entry* entry = nullptr;
  const int code = archive_read_next_header(impl_->reader, &entry);
  if (code == ARCHIVE_EOF) return std::optional<StreamEntry>();
  if (code == ARCHIVE_FATAL || code == ARCHIVE_RETRY || entry == nullptr)
    return impl_->problem("read the next entry");
  StreamEntry found;
  found.offset = impl_->base + static_cast<uint64_t>(archive_read_header_position(impl_->reader));
  const char* path = archive_entry_pathname(entry);
  found.path = path != nullptr ? path : "";
  while (found.path.size() > 1 && found.path.ends_with('/')) found.path.pop_back();
  const char* hard = archive_entry_hardlink(entry);
  const char* soft = archive_entry_symlink(entry);
  found.link = hard != nullptr ? hard : soft != nullptr ? soft : "";
  const auto type = archive_entry_filetype(entry);
  found.type = hard != nullptr    ? 'h'
               : type == AE_IFDIR ? 'd'
               : type == AE_IFLNK ? 'l'
               : type == AE_IFIFO ? 'p'
               : type == AE_IFCHR ? 'c'
               : type == AE_IFBLK ? 'b'
                                  : 'f';
  found.mode = archive_entry_perm(entry);
  found.size = archive_entry_size(entry) > 0 ? static_cast<uint64_t>(archive_entry_size(entry)) : 0;
  found.uid = static_cast<uint32_t>(archive_entry_uid(entry));
  found.gid = static_cast<uint32_t>(archive_entry_gid(entry));
  return std::optional<StreamEntry>(std::move(found));
}

Expected<std::vector<EntryStream::Extent>> EntryStream::extents(uint64_t stream_size) {
  std::vector<Extent> found;
  for (;;) {
    const auto next = data();
    if (!next) return next.error();
    if (!*next) return found;
    // libarchive has taken the header and the map of holes when it gives the first data.
    impl_->imagined = std::max(stream_size, impl_->given);
    const Extent extent{(*next)->offset, static_cast<uint64_t>(archive_filter_bytes(impl_->reader, 0)),
                        (*next)->bytes.size()};
    Extent* last = found.empty() ? nullptr : &found.back();
    const bool goes_on = last != nullptr && last->offset + last->size == extent.offset &&
                         last->stored + last->size == extent.stored;
    if (goes_on)
      last->size += extent.size;
    else
      found.push_back(extent);
  }
}

Expected<std::optional<EntryStream::Data>> EntryStream::data() {
  const void* bytes = nullptr;
  size_t size = 0;
  la_int64_t offset = 0;
  for (;;) {
    const int code = archive_read_data_block(impl_->reader, &bytes, &size, &offset);
    if (code == ARCHIVE_EOF) return std::optional<Data>();
    if (code != ARCHIVE_OK) return impl_->problem("read data");
    if (size == 0) continue;
    if (offset < 0) return Problem{0, impl_->shown + ": data before the beginning of a file"};
    return std::optional<Data>(Data{static_cast<uint64_t>(offset), {static_cast<const char*>(bytes), size}});
  }
}

}  // namespace vs::backup
