// FS_IMMUTABLE_FL on each master.
//
// An immutable inode cannot be opened for writing, changed in mode, owner, times or attributes, linked,
// renamed or unlinked, by root neither, as long as a guest has no CAP_LINUX_IMMUTABLE. What a descriptor
// opened before may do differs: measured on Linux 6.18, ext4 refuses write, truncate and stores to shared
// mappings through it, xfs, btrfs and tmpfs do not. Leases keep descriptors from existing; a filesystem that
// also refuses is the second lock, and this guard is offered only where both hold: probe() opens, seals and
// writes.
#include <unistd.h>

#include <cerrno>

#include "core/store/guard.h"
#include "core/store/inode_flags.h"
#include "core/unique_fd.h"

namespace vs {
namespace {

class ImmutableGuard final : public Guard {
 public:
  explicit ImmutableGuard(uint32_t flags) : flags_(flags) {}
  std::string_view name() const override { return "immutable"; }
  bool shares_inodes() const override { return true; }
  bool needs_window() const override { return true; }

  Result probe(int scratch_dir) const override {
    const auto scratch = open_scratch_file(scratch_dir);
    if (!scratch) return scratch.error();
    const UniqueFd fd(*scratch);
    if (::pwrite(fd.get(), "x", 1, 0) != 1) return problem_from_errno("write a probe file in", "the store");
    if (auto sealed = seal(fd.get(), "a probe file"); !sealed) return sealed;
    const bool wrote = ::pwrite(fd.get(), "y", 1, 0) == 1;
    const auto cleared = unseal(fd.get(), "a probe file");
    if (!cleared) return cleared;
    if (wrote)
      return Problem{EOPNOTSUPP,
                     "this filesystem lets a file that was open before be written after it became immutable"};
    return Ok{};
  }

  Result seal(int fd, const std::string& object) const override {
    return change_inode_flags(fd, flags_, true, object);
  }
  Result unseal(int fd, const std::string& object) const override {
    return change_inode_flags(fd, flags_, false, object);
  }
  Expected<bool> is_sealed(int fd, const std::string& object) const override {
    const auto flags = inode_flags(fd, object);
    if (!flags) return flags.error();
    return (*flags & flags_) == flags_;
  }

 private:
  const uint32_t flags_;
};

}  // namespace

std::unique_ptr<Guard> make_immutable_guard() {
  return std::make_unique<ImmutableGuard>(kImmutableFlag);
}

std::unique_ptr<Guard> make_flags_guard(uint32_t flags) {
  return std::make_unique<ImmutableGuard>(flags);
}

}  // namespace vs
