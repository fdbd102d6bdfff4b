#include "unify/packages/package_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/full_io.h"

namespace vs::unify {
namespace {

constexpr char kMagic[8] = {'V', 'S', 'P', 'K', 'G', 'S', '1', '\n'};
constexpr uint64_t kMaxStream = 1ull << 30;

struct Header {
  char magic[8];
  uint64_t key_low, key_high;
  uint64_t length;
  uint64_t sum_low, sum_high;
};
static_assert(sizeof(Header) == 48);

Header make_header(const DatabaseKey& key, std::string_view stream) {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.key_low = key.low;
  header.key_high = key.high;
  header.length = stream.size();
  const XXH128_hash_t sum = XXH3_128bits_withSeed(stream.data(), stream.size(), key.low ^ key.high);
  header.sum_low = sum.low64;
  header.sum_high = sum.high64;
  return header;
}

bool read_exactly(int fd, void* to, size_t size) {
  return read_full(fd, to, size) == static_cast<ssize_t>(size);
}

bool write_exactly(int fd, const void* from, size_t size) {
  const auto* bytes = static_cast<const char*>(from);
  while (size > 0) {
    const ssize_t written = ::write(fd, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

}  // namespace

std::string cache_file(const std::string& cache_dir, const RootDir& root, unsigned place) {
  return fmt::format("{}/{:x}-{:x}-{}.pkgs", cache_dir, root.stat().dev, root.stat().ino, place);
}

std::optional<std::string> load_cached(const std::string& file, const DatabaseKey& key) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  Header header;
  if (!fd || !read_exactly(fd.get(), &header, sizeof header)) return std::nullopt;
  if (header.key_low != key.low || header.key_high != key.high || header.length > kMaxStream)
    return std::nullopt;
  struct ::stat stat;
  if (::fstat(fd.get(), &stat) != 0 || static_cast<uint64_t>(stat.st_size) != sizeof header + header.length)
    return std::nullopt;  // before memory is taken for a length that may be damaged
  std::string stream(header.length, '\0');
  if (!read_exactly(fd.get(), stream.data(), stream.size())) return std::nullopt;
  const Header expected = make_header(key, stream);
  if (std::memcmp(&expected, &header, sizeof header) != 0) return std::nullopt;
  return stream;
}

Result store_cached(const std::string& file, const DatabaseKey& key, std::string_view stream) {
  std::string temporary = file + ".XXXXXX";
  const UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) return problem_from_errno("create", temporary);
  const Header header = make_header(key, stream);
  if (write_exactly(fd.get(), &header, sizeof header) &&
      write_exactly(fd.get(), stream.data(), stream.size()) && ::fsync(fd.get()) == 0 &&
      ::rename(temporary.c_str(), file.c_str()) == 0)
    return Ok{};
  const Problem problem = problem_from_errno("write", temporary);
  ::unlink(temporary.c_str());
  return problem;
}

}  // namespace vs::unify
