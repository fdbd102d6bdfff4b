// What the child that reads an rpm database tells its parent, and what the cache keeps.
//
//   stream  := record*                     the last record is END
//   record  := u32 length, u8 kind, body   length counts kind and body, little endian, 1 .. 65536
//   PACKAGE := 4 x (u16 length, bytes)     name, version, architecture, source package
//   DIR     := bytes                       directory of the files that follow, absolute
//   FILE    := u8 flags, u8 algorithm, digest (of the algorithm's size), base name
//   TROUBLE := bytes                       something to report, raw
//   END     := u32 packages, u32 files
//
// The child may have been taken over by the database it read, so the decoder believes nothing: lengths,
// flags, algorithms, order and counts are checked, and a stream without its END record is worth nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "unify/packages/package_index.h"
#include "unify/packages/trouble_log.h"

namespace vs::unify {

enum class RpmRecordKind : uint8_t { package = 'P', dir = 'D', file = 'F', trouble = 'T', end = 'E' };

inline constexpr size_t kMaxRpmRecord = 65536;
inline constexpr size_t kMaxRpmPackages = 200'000;

class RpmStreamWriter {
 public:
  explicit RpmStreamWriter(int fd) : fd_(fd) {}
  void package(std::string_view name, std::string_view version, std::string_view arch,
               std::string_view source);
  void dir(std::string_view path);
  void file(uint8_t flags, DigestAlgorithm algorithm, std::string_view digest, std::string_view name);
  void trouble(std::string_view text);
  void end();  // and flush
  void flush();

 private:
  void record(RpmRecordKind kind, std::string_view body);

  int fd_;
  std::string buffer_;
  std::string body_;
  uint32_t packages_ = 0;
  uint32_t files_ = 0;
};

// One record; the views are parts of the stream.
struct RpmRecord {
  RpmRecordKind kind = RpmRecordKind::end;
  std::string_view name;  // of a package or file; the text of a trouble, the path of a dir
  std::string_view version, arch, source;
  uint8_t flags = 0;
  DigestAlgorithm algorithm = DigestAlgorithm::none;
  std::string_view digest;
};

class RpmStreamReader {
 public:
  explicit RpmStreamReader(std::string_view stream) : stream_(stream) {}
  // False at the end; then problem() is empty if, and only if, the stream was whole and right.
  bool next(RpmRecord& record);
  const std::string& problem() const { return problem_; }

 private:
  bool fail(const char* expected);
  bool take_package(std::string_view body, RpmRecord& record);
  bool take_file(std::string_view body, RpmRecord& record);
  bool take_end(std::string_view body);

  std::string_view stream_;
  size_t at_ = 0;
  uint32_t packages_ = 0;
  uint32_t files_ = 0;
  bool have_dir_ = false;
  std::string problem_;
};

// Adds what a stream says to the index; nothing at all, and the reason is returned, if it is not right to its
// end. Troubles in it go to the log as of `file`, escaped.
std::string add_rpm_stream(std::string_view stream, std::string_view file, PackageIndexBuilder& builder,
                           TroubleLog& log);

}  // namespace vs::unify
