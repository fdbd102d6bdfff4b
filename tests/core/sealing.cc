#include "tests/core/sealing.h"

#include <fcntl.h>

#include <cerrno>
#include <stdexcept>

#include "core/store/inode_flags.h"

namespace vs::unit {
namespace {

UniqueFd open_for_flags(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd) throw std::runtime_error("test set-up: open " + path);
  return fd;
}

}  // namespace

Result HookedGuard::seal(int fd, const std::string& object) const {
  if (before_seal) before_seal(fd);
  if (fail_seal) return Problem{EROFS, "seal " + object};
  const auto sealed = real_->seal(fd, object);
  if (after_seal) after_seal(fd);
  return sealed;
}

Result HookedGuard::unseal(int fd, const std::string& object) const {
  const auto unsealed = real_->unseal(fd, object);
  if (after_unseal) after_unseal(fd);
  return unsealed;
}

bool is_sealed(const std::string& path) {
  return (value_or_throw(inode_flags(open_for_flags(path).get(), path)) & kImmutableFlag) != 0;
}
void seal(const std::string& path) {
  ok_or_throw(change_inode_flags(open_for_flags(path).get(), kImmutableFlag, true, path));
}
void unseal(const std::string& path) {
  ok_or_throw(change_inode_flags(open_for_flags(path).get(), kImmutableFlag, false, path));
}

std::optional<test::Obstacle> cannot_seal() {
  if (!is_root()) return test::Obstacle{test::Skip::kRoot, "sealing needs root"};
  const ScratchDir dir;
  const UniqueFd fd(::open(dir.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto probed = make_immutable_guard()->probe(fd.get());
  if (probed) return std::nullopt;
  return test::Obstacle{test::Skip::kFilesystem, "the immutable guard does not work below " + dir.path() +
                                                     ": " + probed.error().message +
                                                     " (set TMPDIR to a directory on ext4)"};
}

}  // namespace vs::unit
