#include "core/store/seal_keeper.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace vs {
namespace {

// The kernel passes 253 descriptors at most in one message (SCM_MAX_FD).
constexpr size_t kFdsAtOnce = 200;
constexpr size_t kMostFds = 16384;

union ControlBuffer {
  cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int) * kFdsAtOnce)];
};

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
    char command = 0;
    ControlBuffer control{};
    iovec io{&command, 1};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    const ssize_t got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_type != SCM_RIGHTS) continue;
      const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count && held_count < kMostFds; ++i)
        std::memcpy(&held[held_count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    if (command == 'F') drop_all();
    const char answer = (message.msg_flags & MSG_CTRUNC) != 0 ? 'E' : 'K';
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
  for (size_t at = 0; at < fds.size(); at += kFdsAtOnce) {
    const auto part = fds.subspan(at, std::min(kFdsAtOnce, fds.size() - at));
    char command = 'H';
    ControlBuffer control{};
    iovec io{&command, 1};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(part.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(part.size_bytes());
    std::memcpy(CMSG_DATA(c), part.data(), part.size_bytes());
    if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) != 1)
      return problem_from_errno("send descriptors to", "the seal keeper");
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
