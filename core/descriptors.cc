#include "core/descriptors.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace vs {
namespace {

union ControlBuffer {
  cmsghdr align;
  char bytes[CMSG_SPACE(sizeof(int) * kDescriptorsAtOnce)];
};

}  // namespace

Result send_descriptors(int socket, char byte, std::span<const int> fds, const std::string& to) {
  if (fds.size() > kDescriptorsAtOnce) return problem_from(EINVAL, "send too many descriptors to", to);
  ControlBuffer control{};
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  while (::sendmsg(socket, &message, MSG_NOSIGNAL) != 1)
    if (errno != EINTR) return problem_from_errno("send descriptors to", to);
  return Ok{};
}

ReceivedDescriptors receive_descriptors(int socket, std::span<int> fds) {
  ReceivedDescriptors received;
  ControlBuffer control{};
  iovec data{&received.byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  do {
    received.got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (received.got < 0 && errno == EINTR);
  if (received.got <= 0) return received;
  received.all = (message.msg_flags & MSG_CTRUNC) == 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      if (received.count < fds.size()) {
        fds[received.count++] = fd;
      } else {
        ::close(fd);
        received.all = false;
      }
    }
  }
  return received;
}

}  // namespace vs
