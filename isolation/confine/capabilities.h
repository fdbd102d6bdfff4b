// What root inside may do: a list of capabilities that are KEPT. New capabilities of new kernels are so never
// given by oversight.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"

namespace vs::isolation {

using CapabilitySet = uint64_t;  // bit n is capability n

// Every capability that this kernel knows.
CapabilitySet all_capabilities();
// What a guest keeps. Not in it, and why: SYS_ADMIN, SYS_MODULE, SYS_RAWIO, BPF, PERFMON, SYS_PTRACE,
// CHECKPOINT_RESTORE and MKNOD undo the confinement; LINUX_IMMUTABLE removes the seal of shared files;
// DAC_READ_SEARCH opens any inode by handle; NET_ADMIN and NET_RAW reach what all share on one network stack;
// SYS_TIME, SYSLOG, AUDIT_*, MAC_*, SYS_RESOURCE, SYS_NICE and IPC_LOCK are the host's. SYS_BOOT is kept: in
// a pid namespace it only ends the guest, and seccomp refuses kexec.
CapabilitySet guest_capabilities();
// What --secure of the original means today: the guest's list, plus what the original's --secure left and
// does not reach out.
CapabilitySet secure_capabilities();

// "NET_RAW", "CAP_NET_RAW", any case. Throws Error(Exit::usage) naming what is no capability.
CapabilitySet capability_named(const std::string& name);
std::string capability_name(unsigned number);  // "NET_RAW"
unsigned capability_count();
// "CAP_NET_RAW" adds, "!CAP_NET_RAW" removes.
CapabilitySet apply_changes(CapabilitySet set, const std::vector<std::string>& changes);

// Lowers bounding, permitted, effective; empties inheritable and ambient. Irreversible for this process and
// what it starts. Needs CAP_SETPCAP.
Result keep_only(CapabilitySet keep);

struct CapabilityState {
  CapabilitySet effective = 0, permitted = 0, inheritable = 0, bounding = 0;
};
CapabilityState current_capabilities();

}  // namespace vs::isolation
