// Abstract unix sockets have no file, and no namespace but that of the network: on the host's network stack a
// guest could connect to those of the host and of the others.
//
// Two ways to keep it from that. A BPF LSM program on the guest's cgroup refuses to connect or send to an
// abstract socket that was not made in it: exact, and for all that ever runs in the guest; it needs "bpf" in
// the kernel's list of security modules (lsm=...,bpf; Debian's kernels have it). Landlock of Linux 6.12
// scopes the processes of the guest's init; a command of `exec` is then in a scope of its own, and cannot
// connect to abstract sockets of the guest's either.
#pragma once

#include <string>

#include "core/error.h"

namespace vs::isolation {

enum class AbstractSocketGuard { none, landlock, bpf };

// The best that this host has. bpf is only answered when the kernel has taken the programs once. `run` is our
// directory below /run: what is known of the running kernel is kept there, since finding it takes longer than
// all else of a start.
AbstractSocketGuard abstract_socket_guard(const std::string& run);

// For bpf: attaches the programs to this open cgroup, with which they live. Other ways are taken in
// confine().
Result keep_abstract_sockets_in(int cgroup, const std::string& run);

}  // namespace vs::isolation
