#include "core/durable/host_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "core/error.h"

namespace vs {

namespace {

// A run that was killed leaves a seal keeper, which shares its descriptors and so its lock, and ends when it
// has sealed the masters it holds: some milliseconds, more on a busy disk.
constexpr auto kPatience = std::chrono::seconds(1);
constexpr auto kPause = std::chrono::milliseconds(20);

// errno of the last try.
int lock_patiently(int fd) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return 0;
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK || std::chrono::steady_clock::now() >= until) return errno;
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

HostLock::HostLock(int dir, const std::string& name, const std::string& shown_path) {
  fd_.reset(::openat(dir, name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd_) throw Error(problem_from_errno("open lock", shown_path).message);
  if (const int error = lock_patiently(fd_.get()); error != 0) {
    if (error != EWOULDBLOCK) throw Error(problem_from(error, "lock", shown_path).message);
    char holder[32] = "";
    if (::pread(fd_.get(), holder, sizeof holder - 1, 0) < 0) holder[0] = 0;
    throw Error(fmt::format("another run (process {}) holds {}; nothing was changed", holder, shown_path),
                Exit::locked);
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
