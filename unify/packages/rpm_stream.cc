#include "unify/packages/rpm_stream.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "core/escape.h"

namespace vs::unify {
namespace {

constexpr uint8_t kFlagsOfRpm = kConfig | kGhost | kNotNormal | kMayChange;
constexpr size_t kFlush = 60 * 1024;  // close to what a pipe holds

template <class T>
void put(std::string& out, T value) {
  for (size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

// Takes a little endian number off the front; false when the bytes do not suffice.
template <class T>
bool take(std::string_view& from, T& value) {
  if (from.size() < sizeof value) return false;
  uint64_t collected = 0;
  for (size_t i = 0; i < sizeof value; ++i) collected |= uint64_t{static_cast<uint8_t>(from[i])} << (8 * i);
  value = static_cast<T>(collected);
  from.remove_prefix(sizeof value);
  return true;
}

bool take_text(std::string_view& from, std::string_view& text) {
  uint16_t length = 0;
  if (!take(from, length) || from.size() < length) return false;
  text = from.substr(0, length);
  from.remove_prefix(length);
  return true;
}

bool is_known(DigestAlgorithm algorithm) {
  return algorithm == DigestAlgorithm::none || digest_size(algorithm) != 0;
}

}  // namespace

void RpmStreamWriter::record(RpmRecordKind kind, std::string_view body) {
  put(buffer_, static_cast<uint32_t>(body.size() + 1));
  buffer_ += static_cast<char>(kind);
  buffer_ += body;
  if (buffer_.size() >= kFlush) flush();
}

void RpmStreamWriter::package(std::string_view name, std::string_view version, std::string_view arch,
                              std::string_view source) {
  body_.clear();
  for (std::string_view text : {name, version, arch, source}) {
    text = text.substr(0, 1000);
    put(body_, static_cast<uint16_t>(text.size()));
    body_ += text;
  }
  record(RpmRecordKind::package, body_);
  ++packages_;
}

void RpmStreamWriter::dir(std::string_view path) {
  record(RpmRecordKind::dir, path.substr(0, kMaxRpmRecord - 1));
}

void RpmStreamWriter::file(uint8_t flags, DigestAlgorithm algorithm, std::string_view digest,
                           std::string_view name) {
  body_.clear();
  body_ += static_cast<char>(flags);
  body_ += static_cast<char>(algorithm);
  body_ += digest;
  body_ += name.substr(0, 4096);
  record(RpmRecordKind::file, body_);
  ++files_;
}

void RpmStreamWriter::trouble(std::string_view text) {
  record(RpmRecordKind::trouble, text.substr(0, 500));
}

void RpmStreamWriter::end() {
  body_.clear();
  put(body_, packages_);
  put(body_, files_);
  record(RpmRecordKind::end, body_);
  flush();
}

void RpmStreamWriter::flush() {
  for (size_t at = 0; at < buffer_.size();) {
    const ssize_t written = ::write(fd_, buffer_.data() + at, buffer_.size() - at);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) break;  // the parent is gone or has had enough
    at += static_cast<size_t>(written);
  }
  buffer_.clear();
}

bool RpmStreamReader::fail(const char* expected) {
  problem_ = fmt::format("byte {} of the answer: expected {}", at_, expected);
  return false;
}

bool RpmStreamReader::next(RpmRecord& record) {
  if (!problem_.empty() || at_ == std::string_view::npos) return false;
  std::string_view rest = stream_.substr(at_);
  uint32_t length = 0;
  uint8_t kind = 0;
  if (!take(rest, length) || length == 0 || length > kMaxRpmRecord || length > rest.size())
    return fail("a whole record");
  take(rest, kind);
  const std::string_view body = rest.substr(0, length - 1);
  record = {};
  record.kind = static_cast<RpmRecordKind>(kind);
  record.name = body;
  switch (record.kind) {
    case RpmRecordKind::package:
      if (!take_package(body, record)) return false;
      break;
    case RpmRecordKind::file:
      if (!take_file(body, record)) return false;
      break;
    case RpmRecordKind::dir:
      have_dir_ = true;
      break;
    case RpmRecordKind::trouble:
      break;
    case RpmRecordKind::end:
      if (!take_end(body)) return false;
      at_ += 4 + length;
      if (at_ != stream_.size()) return fail("nothing after the end");
      at_ = std::string_view::npos;
      return false;
    default:
      return fail("a known kind of record");
  }
  at_ += 4 + length;
  return true;
}

bool RpmStreamReader::take_package(std::string_view body, RpmRecord& record) {
  for (std::string_view* text : {&record.name, &record.version, &record.arch, &record.source})
    if (!take_text(body, *text)) return fail("a package of four texts");
  if (!body.empty() || record.name.empty()) return fail("a package of four texts");
  if (++packages_ > kMaxRpmPackages) return fail("fewer packages");
  have_dir_ = false;
  return true;
}

bool RpmStreamReader::take_file(std::string_view body, RpmRecord& record) {
  uint8_t algorithm = 0;
  if (!take(body, record.flags) || !take(body, algorithm)) return fail("a file's flags and algorithm");
  record.algorithm = static_cast<DigestAlgorithm>(algorithm);
  if ((record.flags & ~kFlagsOfRpm) != 0) return fail("known flags of a file");
  if (!is_known(record.algorithm)) return fail("a known digest algorithm");
  const size_t size = digest_size(record.algorithm);
  if (body.size() <= size) return fail("a digest and a name");
  record.digest = body.substr(0, size);
  record.name = body.substr(size);
  if (packages_ == 0 || !have_dir_) return fail("a package and a directory before a file");
  if (++files_ > PackageIndexBuilder::kMaxFiles) return fail("fewer files");
  return true;
}

bool RpmStreamReader::take_end(std::string_view body) {
  uint32_t packages = 0, files = 0;
  if (!take(body, packages) || !take(body, files) || !body.empty()) return fail("two counts");
  if (packages != packages_ || files != files_) return fail("as many packages and files as were sent");
  return true;
}

namespace {

void add_records(std::string_view stream, std::string_view file, PackageIndexBuilder& builder,
                 TroubleLog& log) {
  RpmStreamReader reader(stream);
  RpmRecord record;
  uint32_t package = 0;
  std::string path;
  size_t dir_length = 0;
  while (reader.next(record)) {
    switch (record.kind) {
      case RpmRecordKind::package:
        package =
            builder.add_package({std::string(record.name), std::string(record.version),
                                 std::string(record.arch), std::string(record.source), PackageKind::rpm});
        break;
      case RpmRecordKind::dir:
        path = record.name;
        path.resize(path.find_last_not_of('/') + 1);  // npos + 1 is 0
        path += '/';
        dir_length = path.size();
        break;
      case RpmRecordKind::file:
        path.resize(dir_length);
        path += record.name;
        // A slash in a base name would be taken as a directory: harmless below the root, but no honest
        // database has it.
        if (record.name.find('/') != std::string_view::npos ||
            !builder.add_file(path, package, record.algorithm, record.digest, record.flags))
          log.add(file, fmt::format("expected a path below the root, without \"..\", found \"{}\"",
                                    escaped(path.substr(0, 200))));
        break;
      case RpmRecordKind::trouble:
        log.add(file, escaped(record.name));
        break;
      case RpmRecordKind::end:
        break;
    }
  }
}

}  // namespace

std::string add_rpm_stream(std::string_view stream, std::string_view file, PackageIndexBuilder& builder,
                           TroubleLog& log) {
  // Twice: the first time to know that all of it is right.
  RpmStreamReader reader(stream);
  RpmRecord record;
  while (reader.next(record)) {
  }
  if (reader.problem().empty()) add_records(stream, file, builder, log);
  return reader.problem();
}

}  // namespace vs::unify
