#include "isolation/context/reboot_place.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace vs::isolation {

namespace fs = std::filesystem;

std::string reboot_root(const Places& places) {
  return places.run + "/reboot";
}
std::string reboot_dir(const Places& places, const std::string& name) {
  return reboot_root(places) + "/" + name;
}

Result make_reboot_dir(const Places& places, const std::string& name) {
  std::error_code error;
  const std::string dir = reboot_dir(places, name);
  fs::create_directories(dir, error);
  if (error) return problem_from(error.value(), "create", dir);
  return Ok{};
}

Result give_reboot_dir(const Places& places, const std::string& name, uint32_t owner) {
  const std::string dir = reboot_dir(places, name), socket = dir + "/" + kRebootSocket;
  if (::lchown(dir.c_str(), owner, owner) != 0 ||
      (::lchown(socket.c_str(), owner, owner) != 0 && errno != ENOENT))
    return problem_from_errno("give to the guest's root", dir);
  return Ok{};
}

Result remove_reboot_dir(const Places& places, const std::string& name) {
  const std::string dir = reboot_dir(places, name), socket = dir + "/" + kRebootSocket;
  // rebootmgr may make the socket in this moment: then once more.
  for (int attempt = 0; attempt < 3; ++attempt) {
    if (::unlink(socket.c_str()) != 0 && errno != ENOENT) return problem_from_errno("remove", socket);
    if (::rmdir(dir.c_str()) == 0 || errno == ENOENT) return Ok{};
    if (errno != ENOTEMPTY) break;
  }
  return problem_from_errno("remove", dir);
}

}  // namespace vs::isolation
