#include "core/store/seal_keeper.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "core/descriptors.h"

namespace vs {
namespace {

constexpr size_t kMostFds = 16384;

// Only async-signal-safe calls from here: the parent may have had threads when it forked.
int held[kMostFds];
size_t held_count = 0;

void seal_all() {
  for (size_t i = 0; i < held_count; ++i) {
    long flags = 0;
    if (::ioctl(held[i], FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_IMMUTABLE_FL) == 0) {
      flags |= FS_IMMUTABLE_FL;
      ::ioctl(held[i], FS_IOC_SETFLAGS, &flags);
    }
  }
}

void drop_all() {
  while (held_count > 0) ::close(held[--held_count]);
}

[[noreturn]] void keeper_main(int socket) {
  ::setsid();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGIO}) ::signal(signal, SIG_IGN);
  ::prctl(PR_SET_NAME, "vs-seal-keeper");
  for (;;) {
    const auto received = receive_descriptors(socket, std::span(held).subspan(held_count));
    if (received.got <= 0) break;
    held_count += received.count;
    if (received.byte == 'F') drop_all();
    const char answer = received.all ? 'K' : 'E';
    if (::send(socket, &answer, 1, MSG_NOSIGNAL) != 1) break;
  }
  seal_all();
  ::_exit(0);
}

}  // namespace

Result SealKeeper::start() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return problem_from_errno("make a socket for", "the seal keeper");
  socket_.reset(ends[0]);
  // Not core/subprocess: it becomes no program, and goes on sealing with the descriptors it was handed.
  child_ = ::fork();
  if (child_ == 0) {
    ::close(ends[0]);
    keeper_main(ends[1]);
  }
  ::close(ends[1]);
  if (child_ < 0) return problem_from_errno("fork", "the seal keeper");
  return Ok{};
}

SealKeeper::~SealKeeper() {
  socket_.reset();
  if (child_ > 0) ::waitpid(child_, nullptr, 0);
}

Result SealKeeper::await_answer() {
  char answer = 0;
  ssize_t got = 0;
  do {
    got = ::recv(socket_.get(), &answer, 1, 0);
  } while (got < 0 && errno == EINTR);
  if (got != 1) return problem_from(got < 0 ? errno : EPIPE, "hear from", "the seal keeper");
  if (answer != 'K') return problem_from(EMFILE, "hand descriptors to", "the seal keeper");
  return Ok{};
}

Result SealKeeper::hand_over(std::span<const int> fds) {
  for (size_t at = 0; at < fds.size(); at += kDescriptorsAtOnce) {
    const auto part = fds.subspan(at, std::min(kDescriptorsAtOnce, fds.size() - at));
    if (auto sent = send_descriptors(socket_.get(), 'H', part, "the seal keeper"); !sent) return sent;
    if (auto answered = await_answer(); !answered) return answered;
  }
  return Ok{};
}

Result SealKeeper::forget() {
  const char command = 'F';
  if (::send(socket_.get(), &command, 1, MSG_NOSIGNAL) != 1)
    return problem_from_errno("send to", "the seal keeper");
  return await_answer();
}

}  // namespace vs
