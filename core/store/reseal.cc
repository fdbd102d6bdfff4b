#include "core/store/reseal.h"

#include <chrono>

namespace vs {
namespace {

constexpr auto kPatience = std::chrono::milliseconds(500);

}  // namespace

Expected<bool> reseal(int fd, const FileClass& file_class, const std::vector<Xattr>& xattrs,
                      const std::string& object, const Seal& seal, const std::function<void()>& changed) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    if (auto sealed = seal.set(); !sealed) return sealed.error();
    const auto stat = stat_fd(fd, object);
    if (!stat) return stat.error();
    const auto now = xattr_hash_of(fd, object);
    if (!now) return now.error();
    if (class_of(*stat, *now) == file_class) return true;
    changed();
    if (std::chrono::steady_clock::now() >= until) return false;
    if (auto lifted = seal.lift(); !lifted) return lifted.error();
    if (auto restored = restore_class(fd, file_class, xattrs, object); !restored) return restored.error();
  }
}

}  // namespace vs
