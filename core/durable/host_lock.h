// One writer at a time: flock on a file in a host-only directory.
#pragma once

#include <string>

#include "core/unique_fd.h"

namespace vs {

class HostLock {
 public:
  // Takes the lock, waiting up to a second for what a killed run left behind, or throws Error(Exit::locked)
  // naming the file and the holder's process id.
  HostLock(int dir, const std::string& name, const std::string& shown_path);
  static bool is_held(int dir, const std::string& name);

 private:
  UniqueFd fd_;
};

}  // namespace vs
