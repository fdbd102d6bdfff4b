#include "backup/archive/compressor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>

#include "core/full_io.h"

namespace vs::backup {
namespace {

constexpr uint32_t kSkippable = 0x184D2A5E;  // as the seekable format has it
constexpr uint32_t kCatalog = 0x184D2A5C;    // any of 0x184D2A50..5F is skipped by every zstd
constexpr uint32_t kSeekMagic = 0x8F92EAB1;
constexpr size_t kFooter = 9;

void put32(std::string& out, uint32_t value) {
  for (int i = 0; i < 4; ++i) out += static_cast<char>(value >> (8 * i));
}
uint32_t get32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i)
    value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  return value;
}

std::string skippable(uint32_t magic, std::string_view payload) {
  if (payload.size() > UINT32_MAX) throw Error("more than 4 GiB do not fit into a frame that is skipped");
  std::string out;
  put32(out, magic);
  put32(out, static_cast<uint32_t>(payload.size()));
  out.append(payload);
  return out;
}

}  // namespace

struct Compressor::Impl {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ~Impl() { ZSTD_freeCCtx(context); }
};

Compressor::Compressor(int level) : impl_(std::make_unique<Impl>()) {
  ZSTD_CCtx_setParameter(impl_->context, ZSTD_c_compressionLevel, level);
  ZSTD_CCtx_setParameter(impl_->context, ZSTD_c_checksumFlag, 1);
  ZSTD_CCtx_setParameter(impl_->context, ZSTD_c_contentSizeFlag, 1);
}
Compressor::~Compressor() = default;

std::string Compressor::frame(std::string_view bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  const size_t size = ZSTD_compress2(impl_->context, out.data(), out.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(size) != 0) throw Error(std::string("zstd: ") + ZSTD_getErrorName(size));
  out.resize(size);
  return out;
}

std::string compressed(std::string_view bytes, int level) {
  return Compressor(level).frame(bytes);
}

Expected<std::string> unpack_frame(std::string_view stored, uint32_t size) {
  const auto claimed = ZSTD_getFrameContentSize(stored.data(), stored.size());
  if (size > kMaxFrame) return Problem{0, "a frame claims to unpack to " + std::to_string(size) + " bytes"};
  if (claimed == ZSTD_CONTENTSIZE_ERROR) return Problem{0, "not a zstd frame"};
  if (claimed != ZSTD_CONTENTSIZE_UNKNOWN && claimed != size)
    return Problem{0, "a frame unpacks to another size than the seek table says"};
  std::string out(size, '\0');
  const size_t got = ZSTD_decompress(out.data(), out.size(), stored.data(), stored.size());
  if (ZSTD_isError(got) != 0) return Problem{0, std::string("zstd: ") + ZSTD_getErrorName(got)};
  if (got != size) return Problem{0, "a frame unpacks to fewer bytes than it should"};
  return out;
}

Expected<std::string> decompressed(std::string_view bytes, size_t limit) {
  const auto size = ZSTD_getFrameContentSize(bytes.data(), bytes.size());
  if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN)
    return Problem{0, "not the zstd of a catalog"};
  if (size > limit)
    return Problem{EFBIG, fmt::format("{} bytes claim to unpack to {}; at most {} are believed", bytes.size(),
                                      size, limit)};
  std::string out(static_cast<size_t>(size), '\0');
  const size_t got = ZSTD_decompress(out.data(), out.size(), bytes.data(), bytes.size());
  if (ZSTD_isError(got) != 0 || got != size)
    return Problem{0,
                   std::string("zstd: ") + (ZSTD_isError(got) != 0 ? ZSTD_getErrorName(got) : "too short")};
  return out;
}

std::string skippable_frame(std::string_view payload) {
  return skippable(kCatalog, payload);
}

std::string seek_table(const std::vector<Frame>& frames) {
  std::string table;
  for (const auto& frame : frames) {
    put32(table, frame.stored);
    put32(table, frame.size);
  }
  put32(table, static_cast<uint32_t>(frames.size()));
  table += '\0';  // no checksums: the frames have their own
  put32(table, kSeekMagic);
  return skippable(kSkippable, table);
}

Expected<std::shared_ptr<FramedFile>> FramedFile::open(int dir, const std::string& name,
                                                       const std::string& shown) {
  auto file = std::make_shared<FramedFile>();
  file->path_ = shown;
  file->fd_.reset(::openat(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!file->fd_) return problem_from_errno("open archive", shown);
  struct ::stat stat;
  if (::fstat(file->fd_.get(), &stat) != 0 || !S_ISREG(stat.st_mode))
    return Problem{EINVAL, "not a regular file: " + shown};
  file->file_size_ = static_cast<uint64_t>(stat.st_size);
  if (const auto read = file->read_seek_table(); !read) {
    file->damage_ = read.error().message;
    file->find_frames();
  }
  return file;
}

Expected<std::string> FramedFile::read_at(uint64_t at, size_t size) const {
  if (at > file_size_ || size > file_size_ - at)
    return Problem{0, path_ + ": ends before byte " + std::to_string(at + size)};
  std::string bytes(size, '\0');
  const ssize_t got = pread_full(fd_.get(), bytes.data(), size, at);
  if (got < 0) return problem_from_errno("read", path_);
  if (static_cast<size_t>(got) < size) return problem_from(EIO, "read", path_);
  return bytes;
}

Result FramedFile::read_seek_table() {
  const auto bad = [&] { return Problem{0, path_ + ": its end is torn or damaged (no valid seek table)"}; };
  if (file_size_ < kFooter + 8) return bad();
  const auto footer = read_at(file_size_ - kFooter, kFooter);
  if (!footer) return footer.error();
  if (get32(*footer, 5) != kSeekMagic || ((*footer)[4] & 0x7c) != 0) return bad();
  const uint64_t count = get32(*footer, 0);
  const size_t entry = ((*footer)[4] & 0x80) != 0 ? 12 : 8;
  const uint64_t size = count * entry + kFooter + 8;
  if (size > file_size_) return bad();
  const auto table = read_at(file_size_ - size, static_cast<size_t>(size - kFooter));
  if (!table) return table.error();
  if (get32(*table, 0) != kSkippable || get32(*table, 4) != size - 8) return bad();
  uint64_t at = 0, offset = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const Frame frame{get32(*table, static_cast<size_t>(8 + i * entry)),
                      get32(*table, static_cast<size_t>(12 + i * entry)), at, offset};
    frames_.push_back(frame);
    at += frame.stored;
    offset += frame.size;
  }
  if (at == file_size_ - size) return Ok{};
  frames_.clear();
  return bad();
}

void FramedFile::find_frames() {
  uint64_t at = 0, offset = 0;
  while (at + 8 <= file_size_) {
    // A frame's length is known only by going through its blocks, so it is read whole.
    size_t window = 8u << 20;
    size_t stored = 0;
    std::string bytes;
    for (;; window *= 4) {
      auto read = read_at(at, static_cast<size_t>(std::min<uint64_t>(window, file_size_ - at)));
      if (!read) return;
      bytes = std::move(*read);
      stored = ZSTD_findFrameCompressedSize(bytes.data(), bytes.size());
      if (ZSTD_isError(stored) == 0 || window >= file_size_ - at || window > kMaxFrame) break;
    }
    if (ZSTD_isError(stored) != 0) return;
    const bool skip = (get32(bytes, 0) & 0xfffffff0u) == 0x184D2A50;
    const auto size = skip ? 0 : ZSTD_getFrameContentSize(bytes.data(), bytes.size());
    if (size > kMaxFrame) return;  // unknown and error are the largest numbers
    if (!skip || get32(bytes, 0) == kCatalog)
      frames_.push_back({static_cast<uint32_t>(stored), static_cast<uint32_t>(size), at, offset});
    at += stored;
    offset += size;
  }
}

Expected<std::string> FramedFile::unpack(size_t number) const {
  const Frame& frame = frames_[number];
  if (frame.size == 0) return std::string();
  const auto named = [&](const Problem& problem) {
    return Problem{problem.code, path_ + ": frame " + std::to_string(number) + " at byte " +
                                     std::to_string(frame.at) + ": " + problem.message};
  };
  const auto stored = read_at(frame.at, frame.stored);
  if (!stored) return named(stored.error());
  auto bytes = unpack_frame(*stored, frame.size);
  if (!bytes) return named(bytes.error());
  return bytes;
}

Expected<std::string> FramedFile::payload() const {
  for (auto frame = frames_.rbegin(); frame != frames_.rend(); ++frame) {
    if (frame->size != 0) continue;
    const auto head = read_at(frame->at, 8);
    if (!head) return head.error();
    if (get32(*head, 0) != kCatalog || frame->stored < 8) continue;
    return read_at(frame->at + 8, frame->stored - 8);
  }
  return std::string();
}

size_t FramedFile::frame_of(uint64_t offset) const {
  const auto it = std::upper_bound(frames_.begin(), frames_.end(), offset,
                                   [](uint64_t o, const Frame& f) { return o < f.offset; });
  size_t i = static_cast<size_t>(it - frames_.begin());
  while (i > 0) {
    const Frame& frame = frames_[i - 1];
    if (frame.size != 0) return offset < frame.offset + frame.size ? i - 1 : frames_.size();
    --i;
  }
  return frames_.size();
}

}  // namespace vs::backup
