// Archives as sequences of independent zstd frames with the standard seek table behind them, so that one
// entry costs one frame to read and any number of threads can work on one archive. Any zstd reads them.
// Format: archive_set.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/unique_fd.h"

namespace vs::backup {

struct Frame {
  uint32_t stored = 0;  // bytes in the file
  uint32_t size = 0;    // bytes it unpacks to; 0 for a skippable frame
  uint64_t at = 0;      // where it begins in the file
  uint64_t offset = 0;  // of its first byte in what the whole unpacks to
};

// The most that is packed into one frame. Blocks of entries are smaller (pipeline.h); the list of a directory
// with a great many names is cut.
inline constexpr uint64_t kLargestFrame = 16u << 20;
// What claims to unpack to more than this is not unpacked: archives of before have such lists in one frame.
inline constexpr uint32_t kMaxFrame = 512u << 20;

// One a thread.
class Compressor {
 public:
  explicit Compressor(int level);
  ~Compressor();
  Compressor(const Compressor&) = delete;
  std::string frame(std::string_view bytes);  // with content size and checksum

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// zstd of a whole text, and back; unpacking fails for what is torn, flipped, or larger than `limit`, before
// that much is unpacked.
std::string compressed(std::string_view bytes, int level);
Expected<std::string> decompressed(std::string_view bytes, size_t limit);

std::string skippable_frame(std::string_view payload);
std::string seek_table(const std::vector<Frame>& frames);
// One frame of any kind: what it unpacks to, exactly `size` bytes.
Expected<std::string> unpack_frame(std::string_view stored, uint32_t size);

// An archive opened for reading. Thread safe.
class FramedFile {
 public:
  // Reads the seek table; where there is none (torn, or not ours) finds the frames by walking through the
  // file as far as they are whole: `damage` then says so.
  static Expected<std::shared_ptr<FramedFile>> open(int dir, const std::string& name,
                                                    const std::string& shown);
  const std::vector<Frame>& frames() const { return frames_; }
  const std::string& path() const { return path_; }
  const std::string& damage() const { return damage_; }
  uint64_t file_size() const { return file_size_; }
  uint64_t content_size() const { return frames_.empty() ? 0 : frames_.back().offset + frames_.back().size; }
  Expected<std::string> unpack(size_t frame) const;
  // The payload of the last skippable frame before the seek table: the catalog. "" when there is none.
  Expected<std::string> payload() const;
  size_t frame_of(uint64_t offset) const;  // frames().size() when it is past the end

 private:
  Result read_seek_table();
  void find_frames();
  Expected<std::string> read_at(uint64_t at, size_t size) const;
  UniqueFd fd_;
  std::string path_, damage_;
  uint64_t file_size_ = 0;
  std::vector<Frame> frames_;
};

}  // namespace vs::backup
