// One request to the kernel's routing socket, and its answer.
//
// Our own rather than libnl or libmnl: two message types and one answer, in programs whose start is counted
// in milliseconds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace vs::isolation {

class RouteRequest {
 public:
  // RTM_*, NLM_F_* beside REQUEST and ACK, and the struct that this type begins with (ifinfomsg, ifaddrmsg,
  // rtmsg).
  template <class Message>
  RouteRequest(uint16_t type, uint16_t flags, const Message& message)
      : RouteRequest(type, flags, &message, sizeof message) {}
  void add(uint16_t type, const void* data, size_t size);
  void add(uint16_t type, uint32_t value) { add(type, &value, sizeof value); }
  void add(uint16_t type, const std::string& text) { add(type, text.c_str(), text.size() + 1); }
  // What is added between the two is inside of the attribute. `head` stands before it, for attributes that
  // begin with a struct.
  size_t begin(uint16_t type, const void* head = nullptr, size_t size = 0);
  void end(size_t begun);
  // In the network namespace of this thread. 0 or an errno.
  int send();

 private:
  RouteRequest(uint16_t type, uint16_t flags, const void* message, size_t size);
  void pad();
  std::string bytes_;
};

}  // namespace vs::isolation
