#include "core/durable/record_log.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>

#include "core/durable/durable_file.h"

namespace vs {
namespace {

constexpr char kMagic[4] = {'V', 'S', 'R', '1'};
constexpr size_t kHeader = 20;

uint64_t little(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

void put(std::string& out, uint64_t value, size_t size) {
  for (size_t i = 0; i < size; ++i) out += static_cast<char>(value >> (8 * i));
}

uint64_t checksum(uint32_t type, std::string_view body) {
  std::string head;
  put_u32(head, type);
  put_u32(head, static_cast<uint32_t>(body.size()));
  return XXH3_64bits_withSeed(body.data(), body.size(), XXH3_64bits(head.data(), head.size()));
}

}  // namespace

uint64_t checksum(std::string_view bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

void put_u32(std::string& out, uint32_t value) {
  put(out, value, 4);
}
void put_u64(std::string& out, uint64_t value) {
  put(out, value, 8);
}
void put_string(std::string& out, std::string_view value) {
  put_u32(out, static_cast<uint32_t>(value.size()));
  out.append(value);
}

std::string_view FieldReader::take(size_t size) {
  if (!ok_ || rest_.size() < size) {
    ok_ = false;
    return {};
  }
  const auto taken = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return taken;
}
uint32_t FieldReader::u32() {
  return static_cast<uint32_t>(little(take(4)));
}
uint64_t FieldReader::u64() {
  return little(take(8));
}
std::string_view FieldReader::string() {
  return take(u32());
}

RecordLog parse_record_log(std::string_view bytes) {
  RecordLog log;
  while (bytes.size() - log.valid_bytes >= kHeader) {
    const auto rest = bytes.substr(log.valid_bytes);
    if (std::memcmp(rest.data(), kMagic, sizeof kMagic) != 0) break;
    const auto type = static_cast<uint32_t>(little(rest.substr(4, 4)));
    const auto length = static_cast<uint32_t>(little(rest.substr(8, 4)));
    if (length > RecordLogWriter::kMaxBody || rest.size() - kHeader < length) break;
    const auto body = rest.substr(kHeader, length);
    if (little(rest.substr(12, 8)) != checksum(type, body)) break;
    log.records.push_back({type, std::string(body)});
    log.valid_bytes += kHeader + length;
  }
  log.torn = log.valid_bytes != bytes.size();
  return log;
}

Expected<RecordLog> read_record_log(const std::string& path) {
  auto bytes = read_whole(path, size_t{4} << 30);
  if (!bytes && bytes.error().code == ENOENT) return RecordLog{};
  if (!bytes) return bytes.error();
  return parse_record_log(*bytes);
}

Expected<RecordLogWriter> RecordLogWriter::open(const std::string& path) {
  const auto existing = read_record_log(path);
  if (!existing) return existing.error();
  RecordLogWriter writer;
  writer.path_ = path;
  writer.fd_.reset(::open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!writer.fd_) return problem_from_errno("open log", path);
  if (::ftruncate(writer.fd_.get(), static_cast<off_t>(existing->valid_bytes)) != 0 ||
      ::lseek(writer.fd_.get(), 0, SEEK_END) < 0)
    return problem_from_errno("cut torn end of", path);
  return writer;
}

void RecordLogWriter::append(uint32_t type, std::string_view body) {
  if (body.size() > kMaxBody) return void(failed_ = problem_from(EFBIG, "append a record to", path_));
  buffer_.append(kMagic, sizeof kMagic);
  put_u32(buffer_, type);
  put_u32(buffer_, static_cast<uint32_t>(body.size()));
  put_u64(buffer_, checksum(type, body));
  buffer_.append(body);
}

Result RecordLogWriter::flush() {
  if (failed_) return *failed_;
  if (auto written = write_all(fd_.get(), std::exchange(buffer_, {}), path_); !written)
    failed_ = written.error();
  return failed_ ? Result(*failed_) : Result(Ok{});
}

Result RecordLogWriter::sync() {
  if (auto written = flush(); !written) return written;
  // A failed fdatasync may have dropped the pages: a later one that succeeds would prove nothing.
  if (::fdatasync(fd_.get()) != 0) failed_ = problem_from_errno("fdatasync", path_);
  return failed_ ? Result(*failed_) : Result(Ok{});
}

}  // namespace vs
