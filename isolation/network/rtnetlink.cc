#include "isolation/network/rtnetlink.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "core/unique_fd.h"

namespace vs::isolation {
namespace {

// Each request has a socket of its own, so one number tells its answer from anything else that the kernel
// sends.
constexpr uint32_t kSequence = 1;

}  // namespace

RouteRequest::RouteRequest(uint16_t type, uint16_t flags, const void* message, size_t size)
    : bytes_(sizeof(nlmsghdr), '\0') {
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  header.nlmsg_seq = kSequence;
  std::memcpy(bytes_.data(), &header, sizeof header);
  bytes_.append(static_cast<const char*>(message), size);
  pad();
}

void RouteRequest::pad() {
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

void RouteRequest::add(uint16_t type, const void* data, size_t size) {
  end(begin(type, data, size));
}

size_t RouteRequest::begin(uint16_t type, const void* head, size_t size) {
  const size_t begun = bytes_.size();
  rtattr attribute{};
  attribute.rta_type = type;
  bytes_.append(reinterpret_cast<const char*>(&attribute), sizeof attribute);
  if (size > 0) bytes_.append(static_cast<const char*>(head), size);
  return begun;
}

void RouteRequest::end(size_t begun) {
  const auto length = static_cast<uint16_t>(bytes_.size() - begun);  // without what pads it
  std::memcpy(bytes_.data() + begun + offsetof(rtattr, rta_len), &length, sizeof length);
  pad();
}

int RouteRequest::send() {
  const auto length = static_cast<uint32_t>(bytes_.size());
  std::memcpy(bytes_.data() + offsetof(nlmsghdr, nlmsg_len), &length, sizeof length);
  const UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket || ::send(socket.get(), bytes_.data(), bytes_.size(), 0) < 0) return errno;
  for (;;) {
    alignas(nlmsghdr) char buffer[4096];
    const ssize_t got = ::recv(socket.get(), buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr)))) return got < 0 ? errno : EPROTO;
    const auto* answer = reinterpret_cast<const nlmsghdr*>(buffer);
    if (answer->nlmsg_seq != kSequence) continue;  // not to this request
    if (answer->nlmsg_type != NLMSG_ERROR) return EPROTO;
    return -reinterpret_cast<const nlmsgerr*>(NLMSG_DATA(answer))->error;
  }
}

}  // namespace vs::isolation
