#include "isolation/vserver/hooks.h"

#include <fmt/format.h>
#include <unistd.h>

#include "core/subprocess.h"

namespace vs::isolation {

void run_hook(const Places& places, const std::string& name, const char* phase) {
  const std::string script = fmt::format("{}/{}.sh", places.conf, name);
  if (::access(script.c_str(), F_OK) != 0) return;
  if (::access(script.c_str(), X_OK) != 0) throw Error(fmt::format("{} is not executable", script));
  const auto result = value_or_throw(run_to_end({.arguments = {script, phase, name}}));
  if (!result.status.success())
    throw Error(fmt::format("{} {} {} {}", script, phase, name, result.status.words()));
}

}  // namespace vs::isolation
