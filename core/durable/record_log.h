// An append-only file of checksummed records, read back by code that expects a torn end. Format:
// record_log.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/unique_fd.h"

namespace vs {

struct LogRecord {
  uint32_t type = 0;
  std::string body;
};

class RecordLogWriter {
 public:
  // Creates or continues `path` (mode 0600). A torn end left by a crash is cut off first.
  static Expected<RecordLogWriter> open(const std::string& path);
  // Buffered; on disk after sync() returned success. A body may have kMaxBody bytes; a longer one makes the
  // next sync() fail.
  void append(uint32_t type, std::string_view body);
  Result sync();
  // Handed to the system, not awaited: survives a kill, maybe not a power cut.
  Result flush();
  // After a failure both fail for good: what follows a hole or a torn record is never read back.

  static constexpr uint32_t kMaxBody = 64u << 20;

 private:
  UniqueFd fd_;
  std::string path_;
  std::string buffer_;
  std::optional<Problem> failed_;
};

struct RecordLog {
  std::vector<LogRecord> records;
  uint64_t valid_bytes = 0;  // length of the intact beginning
  bool torn = false;         // bytes follow that are not a whole, intact record
};

// All intact records up to the first that is not. Never throws for what the bytes are.
RecordLog parse_record_log(std::string_view bytes);
// Reads and parses; a missing file is an empty log.
Expected<RecordLog> read_record_log(const std::string& path);

// XXH3: tells what rotted on a disk, not what somebody forged.
uint64_t checksum(std::string_view bytes, uint64_t seed = 0);

// Building and taking apart of bodies: fixed-width little-endian numbers and length-prefixed strings.
void put_u32(std::string& out, uint32_t value);
void put_u64(std::string& out, uint64_t value);
void put_string(std::string& out, std::string_view value);
// Takes fields off the front; after any failure ok() is false and everything taken is zero or empty.
class FieldReader {
 public:
  explicit FieldReader(std::string_view bytes) : rest_(bytes) {}
  uint32_t u32();
  uint64_t u64();
  std::string_view string();
  std::string_view take(size_t size);  // as many bytes, as they are
  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace vs
