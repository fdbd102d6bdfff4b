#include "isolation/trees/guest_tools.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>

#include "core/durable/durable_file.h"
#include "core/tree/root_dir.h"

namespace vs::isolation {
namespace {

constexpr size_t kMostBytes = 16 << 20;

// VS_VREBOOT names it on hosts laid out otherwise. Not beside the running program: that runs from a mount
// that has no directory.
std::optional<std::string> program() {
  if (const char* given = std::getenv("VS_VREBOOT")) return given;
  for (const char* path : {"/usr/sbin/vreboot", "/usr/local/sbin/vreboot"})
    if (::access(path, R_OK) == 0) return path;
  return std::nullopt;
}

}  // namespace

Expected<bool> install_guest_tools(const std::string& tree) {
  const auto path = program();
  if (!path) return false;
  const auto content = read_whole(*path, kMostBytes);
  if (!content) return content.error();
  const RootDir root(tree);
  std::string where;
  UniqueFd dir;
  for (const char* name : {"usr", "local", "sbin"}) {
    auto above = root.open_dir(where);
    if (!above) return false;
    if (::mkdirat(above->get(), name, 0755) != 0 && errno != EEXIST)
      return problem_from_errno("create", root.host_path(where + "/" + name));
    where += (where.empty() ? "" : "/") + std::string(name);
    auto below = root.open_dir(where);
    if (!below) return false;
    dir = std::move(*below);
  }
  const UniqueFd file(
      ::openat(dir.get(), "vreboot", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0755));
  if (!file)
    return errno == EEXIST ? Expected<bool>(true)
                           : Expected<bool>(problem_from_errno("create", root.host_path(where + "/vreboot")));
  if (auto done = write_all(file.get(), *content, where + "/vreboot"); !done) return done.error();
  if (::fchmod(file.get(), 0755) != 0)
    return problem_from_errno("change the mode of", root.host_path(where + "/vreboot"));
  if (::symlinkat("vreboot", dir.get(), "vhalt") != 0 && errno != EEXIST)
    return problem_from_errno("create", root.host_path(where + "/vhalt"));
  return true;
}

}  // namespace vs::isolation
