// Tests of what a kill -9 leaves behind: with VS_DIE_AFTER_STEP=NAME in its environment a command kills
// itself where it reaches the crash point of that name.
#pragma once

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string_view>

namespace vs {

inline void crash_point(std::string_view name) {
  if (const char* at = std::getenv("VS_DIE_AFTER_STEP"); at == nullptr || at != name) return;
  ::raise(SIGKILL);
  ::_exit(128 + SIGKILL);  // process 1 of a namespace cannot kill itself
}

}  // namespace vs
