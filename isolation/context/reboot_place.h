// Where a guest asks for its restart: /dev/reboot in the guest, run/reboot/NAME/reboot on the host.
//
// Why not a socket in the tree, where the original had it: a hostile guest owns its tree. It could put a link
// or a directory in the place of the socket between any two looks of the host, and it has a /dev of its own
// that the host does not see. So the host makes the socket in a directory of its own, below /run where no
// guest has anything, and the guest gets this directory as a read-only mount on /dev/vserver, with
// /dev/reboot as a link into it. Connecting needs no writable mount; making, renaming or removing does. It is
// the directory that is mounted and not the socket, so that a rebootmgr that is started later, or again, is
// reached too. The host never follows a path of the guest.
//
// The directory is there exactly while the vserver runs and the host has not begun to stop it: who sees
// process 1 end can so tell a guest's will from the host's.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"
#include "isolation/context/places.h"

namespace vs::isolation {

constexpr const char* kRebootSocket = "reboot";

// All vservers' directories are in this one.
std::string reboot_root(const Places& places);
std::string reboot_dir(const Places& places, const std::string& name);
Result make_reboot_dir(const Places& places, const std::string& name);
// To root of a guest with a user namespace, with a socket that is there already.
Result give_reboot_dir(const Places& places, const std::string& name, uint32_t owner);
// With a socket in it. No error when it is gone already.
Result remove_reboot_dir(const Places& places, const std::string& name);

}  // namespace vs::isolation
