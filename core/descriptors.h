// Descriptors handed to another process over a unix socket (SCM_RIGHTS), with one byte that says what they
// are for.
//
// Both functions allocate nothing, so that a child may use them that was forked while its parent had threads.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>

#include "core/error.h"

namespace vs {

// The kernel passes 253 at most in one message (SCM_MAX_FD).
inline constexpr size_t kDescriptorsAtOnce = 200;

// `fds`: at most kDescriptorsAtOnce; they stay the caller's. `to` is for the message.
Result send_descriptors(int socket, char byte, std::span<const int> fds, const std::string& to);

struct ReceivedDescriptors {
  ssize_t got = 0;   // as of recvmsg: 1, 0 at the end, -1 with errno
  char byte = 0;     // what they are for
  size_t count = 0;  // how many are in `fds` now; the caller closes them. Close-on-exec.
  bool all = true;   // false: more were sent than had room, or than this process may open; those are closed
};
ReceivedDescriptors receive_descriptors(int socket, std::span<int> fds);

}  // namespace vs
