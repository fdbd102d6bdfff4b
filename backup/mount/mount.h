// Shows a set, or a single archive, as a directory, until it is unmounted.
#pragma once

#include <functional>
#include <string>

#include "core/run_context.h"

namespace vs::backup {

struct MountOptions {
  std::string stored;     // the set, or the archive
  std::string directory;  // where it is shown
  bool foreground = false, allow_other = false;
};

// Calls `mounted` with the number of guests and states when all can be looked into; then goes to the
// background, where that was not refused, and on with the log in the system's. Returns after the unmount or a
// signal. Throws Error.
using Mounted = std::function<void(size_t guests, size_t states)>;
void mount(const MountOptions& options, RunContext& context, const Mounted& mounted);

}  // namespace vs::backup
