// Guests of which nothing is shared, because an administrator or a program of ours is about to change their
// packages: `vunify release --hold`, vapt and vrpm.
//
// A hold is a file in the state directory, `holds/NAME`, empty or with the process it belongs to ("PID
// START", by which one is told from a later process of that number). A hold of a process that is gone is none
// any more, so nobody who is killed leaves one behind.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace vs::unify {

// `process`: as long as it lives; none: until end_hold(). Throws Error when it cannot be written, or
// Error(Exit::usage) for a process that is not there.
void hold_guest(const std::string& state_dir, const std::string& guest, std::optional<pid_t> process);
void end_hold(const std::string& state_dir, const std::string& guest);
bool is_held(const std::string& state_dir, const std::string& guest);
std::vector<std::string> held_guests(const std::string& state_dir);  // sorted

}  // namespace vs::unify
