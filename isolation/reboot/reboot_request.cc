#include "isolation/reboot/reboot_request.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

#include "isolation/context/reboot_place.h"

namespace vs::isolation {
namespace {

using namespace std::chrono_literals;

constexpr size_t kLongest = 16;
constexpr auto kPatience = 2s;
constexpr auto kPause = 100ms;
constexpr int kQueue = 4;

RebootWish wish_of(const std::string& text) {
  if (text == "reboot\n") return RebootWish::restart;
  if (text == "halt\n") return RebootWish::halt;
  return RebootWish::invalid;
}

}  // namespace

Expected<RebootSocket> RebootSocket::make(int dir, const std::string& shown) {
  if (::unlinkat(dir, kRebootSocket, 0) != 0 && errno != ENOENT) return problem_from_errno("remove", shown);
  RebootSocket made;
  made.listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // By the descriptor: a path may be longer than a socket's name can be.
  const auto end = fmt::format_to_n(address.sun_path, sizeof address.sun_path - 1, "/proc/self/fd/{}/{}", dir,
                                    kRebootSocket);
  *end.out = 0;
  const mode_t before = ::umask(0177);
  const bool bound =
      made.listener_ &&
      ::bind(made.listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  const int failed = errno;
  ::umask(before);
  if (!bound) return problem_from(failed, "make the socket", shown);
  // Root inside is another id of the host where it has a user namespace: the directory is its own then.
  struct stat owner {};
  if (::fstat(dir, &owner) != 0 ||
      ::fchownat(dir, kRebootSocket, owner.st_uid, owner.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
    return problem_from_errno("give to the guest's root", shown);
  if (::listen(made.listener_.get(), kQueue) != 0) return problem_from_errno("listen at", shown);
  return made;
}

int RebootSocket::waits_for(Clock::time_point now) const {
  if (connection_) return connection_.get();
  return now >= next_accept_ ? listener_.get() : -1;
}

RebootSocket::Clock::time_point RebootSocket::wake_at() const {
  return connection_ ? deadline_ : next_accept_;
}

RebootWish RebootSocket::finish(Clock::time_point now) {
  connection_.reset();
  next_accept_ = now + kPause;
  return wish_of(text_);
}

RebootWish RebootSocket::look(Clock::time_point now) {
  if (!connection_) {
    if (now < next_accept_) return RebootWish::none;
    connection_.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    text_.clear();
    deadline_ = now + kPatience;
    if (!connection_ && errno != EAGAIN) next_accept_ = now + kPause;
    return RebootWish::none;
  }
  char buffer[kLongest];
  const ssize_t got = ::read(connection_.get(), buffer, kLongest - text_.size());
  if (got > 0) text_.append(buffer, static_cast<size_t>(got));
  const bool waiting = got < 0 && (errno == EAGAIN || errno == EINTR);
  const bool whole = text_.size() == kLongest || text_.find('\n') != std::string::npos;
  if ((waiting || got > 0) && !whole && now < deadline_) return RebootWish::none;
  return finish(now);
}

}  // namespace vs::isolation
