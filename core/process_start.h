// When a process was started: with its number it tells a process from a later one of the same number.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace vs {

// In clock ticks since boot (field 22 of proc_pid_stat(5)); 0 for no such process, or one that is dead
// already.
uint64_t process_start(pid_t pid);

}  // namespace vs
