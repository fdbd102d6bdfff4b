// The tests' kill -9 at a named point of a command: VS_DIE_AFTER_STEP=NAME.
#pragma once

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string_view>

namespace vs::isolation {

inline void die_if_told(std::string_view step) {
  if (const char* at = std::getenv("VS_DIE_AFTER_STEP"); at == nullptr || at != step) return;
  ::raise(SIGKILL);
  ::_exit(128 + SIGKILL);  // process 1 of a namespace cannot kill itself
}

}  // namespace vs::isolation
