#include "backup/source/exclusion.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "core/full_io.h"
#include "core/unique_fd.h"

namespace vs::backup {
namespace {

constexpr const char* kCacheTag = "CACHEDIR.TAG";
constexpr std::string_view kSignature = "Signature: 8a477f597d28d172789f06886806bc55";

bool is_cache(int dir) {
  const UniqueFd fd(::openat(dir, kCacheTag, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct ::stat stat;
  if (!fd || ::fstat(fd.get(), &stat) != 0 || !S_ISREG(stat.st_mode)) return false;
  std::string text(kSignature.size(), '\0');
  return read_full(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
         text == kSignature;
}

}  // namespace

const char* tag_in(int dir, const Exclusion& exclusion) {
  if (exclusion.caches && is_cache(dir)) return kCacheTag;
  for (const auto& name : exclusion.if_present) {
    struct ::stat stat;
    if (::fstatat(dir, name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) == 0) return name.c_str();
  }
  return nullptr;
}

}  // namespace vs::backup
