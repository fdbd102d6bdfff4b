#include "core/host_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>

#include "core/durable_file.h"
#include "core/error.h"

namespace vs {

HostLock::HostLock(int dir, const std::string& name, const std::string& shown_path) {
  fd_.reset(::openat(dir, name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd_) throw Error(problem_from_errno("open lock", shown_path).message);
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) throw Error(problem_from_errno("lock", shown_path).message);
    char holder[32] = "";
    if (::pread(fd_.get(), holder, sizeof holder - 1, 0) < 0) holder[0] = 0;
    throw Error(fmt::format("another run (process {}) holds {}; nothing was changed", holder, shown_path), Exit::locked);
  }
  const std::string me = std::to_string(::getpid());
  if (::ftruncate(fd_.get(), 0) != 0 || ::pwrite(fd_.get(), me.data(), me.size(), 0) < 0) {
    // The number is for people only; a full disk must not stop a run that will free space.
  }
}

bool HostLock::is_held(int dir, const std::string& name) {
  UniqueFd fd(::openat(dir, name.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  return fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

}  // namespace vs
