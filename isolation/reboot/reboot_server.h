// The loop of rebootmgr: takes requests of vservers over their sockets, sees how their first processes end,
// and restarts or stops them.
//
// Two ways in: "reboot\n" or "halt\n" at /dev/reboot (vreboot, vhalt), and reboot(2) inside, which the kernel
// turns into the death of the guest's process 1: by SIGHUP for a restart, by SIGINT for a halt. Only its
// parent is told by which (a pidfd says SIGKILL, on Linux 6.18 too), so it is known of those that were
// started below rebootmgr, whose orphans come to it: by --start, and by itself. The end of others is seen,
// and they stay stopped.
//
// The work is done by children, one a vserver and a few at once: a guest that takes its time to shut down
// holds up nobody. A vserver is restarted at most every five seconds.
#pragma once

#include <string>
#include <vector>

#include "isolation/vserver/runtime.h"

namespace vs::isolation {

struct RebootServerOptions {
  std::vector<std::string> names;  // only these; empty: all
  bool start = false;              // run `vservers start` first
};

// Until SIGTERM or SIGINT. Throws Error when it cannot begin (Exit::locked: another one runs).
void serve_reboots(Runtime& runtime, const RebootServerOptions& options);

}  // namespace vs::isolation
