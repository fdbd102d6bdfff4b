#include "core/tree/new_filesystem.h"

#include <fmt/format.h>
#include <sys/mount.h>

namespace vs {

Expected<UniqueFd> new_filesystem(const char* type, const MountParameters& parameters, unsigned attributes) {
  const UniqueFd context(::fsopen(type, FSOPEN_CLOEXEC));
  if (!context) return problem_from_errno("make a new", type);
  for (const auto& [key, value] : parameters) {
    const unsigned command = value == nullptr ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;
    if (::fsconfig(context.get(), command, key, value, 0) != 0)
      return problem_from_errno(fmt::format("set {} of a new", key), type);
  }
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return problem_from_errno("make a new", type);
  UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, attributes));
  if (!mount) return problem_from_errno("make a mount of a new", type);
  return mount;
}

}  // namespace vs
