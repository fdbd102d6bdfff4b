// The seccomp filters: the second lock behind the capabilities, and the only one for what no capability covers.
#pragma once

#include "core/error.h"

namespace vs::isolation {

struct FilterOptions {
  bool shared_network = true;  // then no packet, netlink-writing or vsock sockets, whatever capabilities were given back
};

// For guests. Denied with EPERM: what makes or joins namespaces (a user namespace would give all capabilities back over new kernel code),
// mounts, handles of files, kernel modules, kexec, bpf, perf, keyrings (the host's: they have no namespace), io_uring (works past filters),
// userfaultfd, the clock, quota, swap, process accounting, raw ports; TIOCSTI and TIOCLINUX; leases (a guest could make another's open of a shared file wait).
// clone3 answers ENOSYS, since its flags cannot be looked at; libc then uses clone. Also in force for 32-bit programs.
Result filter_guest(const FilterOptions& options);
// For chcontext --flag lock: no namespace is made or joined any more.
Result filter_namespaces();

}  // namespace vs::isolation
