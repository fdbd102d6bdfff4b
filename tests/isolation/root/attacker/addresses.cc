// Attempts to use addresses that are not the guest's own, and to reach servers of others.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "tests/isolation/root/attacker/address.h"
#include "tests/isolation/root/attacker/outcome.h"

namespace attacker {
namespace {

// How long silence is waited for: packets that a filter drops are answered by nobody.
constexpr unsigned kSilence = 3;

Outcome try_bind(const char* text, const char*) {
  const Address to(text, 0);
  return answered(bind(socket(to.family(), SOCK_STREAM, 0), to.get(), to.size()));
}

Outcome try_bind_mapped(const char* text, const char*) {
  return try_bind((std::string("::ffff:") + text).c_str(), "");
}

Outcome try_connect(const char* text, const char* port) {
  const Address to(text, port_of(port));
  const int fd = socket(to.family(), SOCK_STREAM, 0);
  give_up_after(kSilence);
  return answered(connect(fd, to.get(), to.size()));
}

// A datagram that says it comes from another address of the host.
Outcome try_spoof(const char* text, const char*) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  const Address to(text, 9);
  char byte = 'x';
  iovec data{&byte, 1};
  union {
    char bytes[CMSG_SPACE(sizeof(in_pktinfo))];
    cmsghdr align;
  } control{};
  msghdr message{};
  message.msg_name = const_cast<sockaddr*>(to.get());
  message.msg_namelen = to.size();
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = IPPROTO_IP;
  header->cmsg_type = IP_PKTINFO;
  header->cmsg_len = CMSG_LEN(sizeof(in_pktinfo));
  in_pktinfo info{};
  info.ipi_spec_dst = to.four();
  std::memcpy(CMSG_DATA(header), &info, sizeof info);
  return answered(sendmsg(fd, &message, 0));
}

// A packet made by hand, with another address of the host as its source.
Outcome try_raw_spoof(const char* text, const char*) {
  const int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
  if (fd < 0) return untried("a raw socket");
  const Address to(text, 0);
  unsigned char packet[28] = {0x45, 0, 0, 28, 0, 0, 0, 0, 64, IPPROTO_UDP};
  std::memcpy(packet + 12, &to.four(), 4);
  std::memcpy(packet + 16, &to.four(), 4);
  packet[25] = 8;
  return answered(sendto(fd, packet, sizeof packet, 0, to.get(), to.size()));
}

// A raw socket gets a copy of every datagram that comes to the host. `text`: the destination of those that
// are looked for. It has begun to listen when the file `ready` is there.
Outcome try_receive(const char* text, const char*) {
  const int fd = socket(AF_INET, SOCK_RAW, IPPROTO_UDP);
  if (fd < 0) return untried("a raw socket");
  const Address wanted(text, 0);
  FILE* ready = fopen("/listening", "w");
  if (ready == nullptr) return untried("/listening");
  fclose(ready);
  unsigned char packet[2048];
  give_up_after(kSilence);
  while (recv(fd, packet, sizeof packet, 0) >= 20)
    if (std::memcmp(packet + 16, &wanted.four(), 4) == 0) return kWorked;
  return untried("receive");
}

Outcome try_ping_from(const char* text, const char*) {
  const int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
  if (fd < 0) return answered(-1);
  const Address from(text, 0);
  if (bind(fd, from.get(), from.size()) != 0) return answered(-1);
  const unsigned char echo[8] = {8};
  unsigned char answer[64];
  give_up_after(kSilence);
  if (sendto(fd, echo, sizeof echo, 0, from.get(), from.size()) < 0) return answered(-1);
  return answered(recv(fd, answer, sizeof answer, 0));
}

// One datagram to itself over ::1; prints which address it came from.
Outcome datagram_to_itself(const char*, const char*) {
  const int fd = socket(AF_INET6, SOCK_DGRAM, 0), client = socket(AF_INET6, SOCK_DGRAM, 0);
  const Address loopback("::1", 0);
  sockaddr_in6 at{};
  socklen_t size = sizeof at;
  char byte = 'x', text[64];
  if (bind(fd, loopback.get(), loopback.size()) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) != 0)
    return untried("bind");
  if (sendto(client, &byte, 1, 0, reinterpret_cast<sockaddr*>(&at), sizeof at) != 1) return answered(-1);
  give_up_after(kSilence);
  if (recvfrom(fd, &byte, 1, 0, reinterpret_cast<sockaddr*>(&at), &size) != 1) return answered(-1);
  std::printf("from %s\n", inet_ntop(AF_INET6, &at.sin6_addr, text, sizeof text));
  return kWorked;
}

constexpr Try kTries[] = {
    {"raw", [](const char*, const char*) { return answered(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)); }},
    {"packet", [](const char*, const char*) { return answered(socket(AF_PACKET, SOCK_RAW, 0)); }},
    {"bind", try_bind},
    {"bind-mapped", try_bind_mapped},
    {"connect", try_connect},
    {"spoof", try_spoof},
    {"raw-spoof", try_raw_spoof},
    {"receive", try_receive},
    {"ping-from", try_ping_from},
    {"datagram6", datagram_to_itself},
};

}  // namespace

std::span<const Try> tries_at_addresses() {
  return kTries;
}

}  // namespace attacker
