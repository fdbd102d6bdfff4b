// The tests' kill -9 at a named point of a command: VS_DIE_AFTER_STEP=NAME.
#pragma once

#include <csignal>
#include <cstdlib>
#include <string_view>

namespace vs::isolation {

inline void die_if_told(std::string_view step) {
  if (const char* at = std::getenv("VS_DIE_AFTER_STEP"); at != nullptr && at == step) ::raise(SIGKILL);
}

}  // namespace vs::isolation
