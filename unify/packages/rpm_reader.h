// rpm's database in a guest's tree: found, copied, read by librpm in a sandboxed child, checked, cached.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "core/tree/root_dir.h"
#include "unify/packages/package_index.h"
#include "unify/packages/sandbox.h"
#include "unify/packages/trouble_log.h"

namespace vs::unify {

struct RpmOptions {
  std::optional<std::string> cache_dir;  // none: nothing is kept
  std::string work_dir = "/tmp";         // private copies go below it
  uint64_t max_bytes = 1ull << 30;       // of a database with its log; large hosts have some 300 MB
  SandboxLimits limits;
  std::function<void()> before_copy;  // for tests: what a guest does between our two readings
};

// The backends read, "sqlite" or "sqlite, ndb"; "" when the guest has no rpm database that could be used.
std::string read_rpm(const RootDir& root, const RpmOptions& options, PackageIndexBuilder& builder,
                     TroubleLog& log);

}  // namespace vs::unify
