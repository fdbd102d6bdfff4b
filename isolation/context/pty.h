// A terminal for who enters a guest: made by the guest's own devpts, so that no descriptor of a terminal of
// the host is ever in there (a guest could push key strokes into it). The host's side copies bytes between
// the two.
#pragma once

#include "core/error.h"
#include "core/unique_fd.h"

namespace vs::isolation {

// Which of 0, 1, 2 are terminals: bit n.
unsigned terminals_of_caller();

// In the child, in the guest's root: opens the multiplexer after looking that it is one, sends the master
// over `socket`, makes the slave the controlling terminal and puts it where `terminals` says.
Result take_terminal(int socket, unsigned terminals);
// In the parent: receives the master. Invalid when the child failed before.
UniqueFd receive_terminal(int socket);
// Copies until the process behind `pidfd` ends. The caller's terminal is raw meanwhile and as it was
// afterwards.
void relay(int master, int pidfd);

}  // namespace vs::isolation
