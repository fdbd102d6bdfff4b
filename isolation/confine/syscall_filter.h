// The seccomp filters: the second lock behind the capabilities, and the only one for what no capability
// covers.
#pragma once

#include <string>

#include "core/error.h"

namespace vs::isolation {

struct FilterOptions {
  bool shared_network =
      true;  // then no packet, netlink-writing or vsock sockets, whatever capabilities were given back
  bool keep_projects = false;  // files' attributes stay as they are, see project_quota.h
};

// For guests. Denied with EPERM: what makes or joins namespaces (a user namespace would give all capabilities
// back over new kernel code), mounts, handles of files, kernel modules, kexec, bpf, perf, keyrings (the
// host's: they have no namespace), io_uring (works past filters), userfaultfd, the clock, quota, swap,
// process accounting, raw ports; TIOCSTI and TIOCLINUX; leases (a guest could make another's open of a shared
// file wait). clone3 answers ENOSYS, since its flags cannot be looked at; libc then uses clone. Also in force
// for 32-bit programs.
//
// To make the program takes a millisecond, half of what running a command inside takes: so it is made once,
// at start.
Expected<std::string> make_guest_filter(const FilterOptions& options);
// What that returned, put in force for this process and those it makes. Needs CAP_SYS_ADMIN: set-id programs
// of the guest go on working.
Result load_guest_filter(const std::string& program);
// For chcontext --flag lock: no namespace is made or joined any more.
Result filter_namespaces();

}  // namespace vs::isolation
