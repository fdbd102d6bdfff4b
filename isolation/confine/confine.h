// The last steps before a program of a guest runs, in the order in which they must be taken.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "isolation/confine/capabilities.h"

namespace vs::isolation {

// This program again, out of a read-only mount of its file: a guest that gets hold of /proc/PID/exe of a
// process of ours, or makes it execute
// "#!/proc/self/exe", can so never write to the program on the host. Returns at once when that is so already.
void run_from_read_only_self(char** argv);

struct Confinement {
  CapabilitySet keep = 0;
  std::string filter;                   // of make_guest_filter()
  bool scope_abstract_sockets = false;  // by Landlock; see abstract_sockets.h
  long nice = 0;
  std::vector<std::pair<int, uint64_t>> rlimits;
};
// Session keyring, limits, Landlock, capabilities, seccomp; every descriptor from 3 up is closed at exec.
// Nothing of it can be taken back.
Result confine(const Confinement& confinement);

struct GuestUser {
  uint32_t uid = 0, gid = 0;
  std::vector<uint32_t> groups;
  std::string name = "root", home = "/root", shell = "/bin/sh";
};
// Reads /etc/passwd and /etc/group of the root it runs in, with code of ours: the C library would load the
// guest's own modules for it, as root.
Expected<GuestUser> find_user(const std::string& name);
Result become_user(const GuestUser& user);

// exec with a clean environment; 126 or 127 as env(1) when it fails.
int exec_command(const std::vector<std::string>& command, const std::vector<std::string>& environment);
std::vector<std::string> guest_environment(const GuestUser& user);

}  // namespace vs::isolation
