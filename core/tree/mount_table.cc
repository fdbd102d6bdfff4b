#include "core/tree/mount_table.h"

#include <fstream>
#include <sstream>

namespace vs {
namespace {

// "\040" for a blank, and so on.
std::string without_octal(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && text.find_first_not_of("01234567", i + 1) >= i + 4) {
      bytes += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      bytes += text[i];
    }
  }
  return bytes;
}

}  // namespace

std::vector<MountPoint> mount_table() {
  std::vector<MountPoint> table;
  std::ifstream file("/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    MountPoint mount;
    std::string skip, point;
    words >> mount.id >> skip >> skip >> skip >> point;
    while (words >> skip && skip != "-") {
    }
    words >> mount.type >> skip >> mount.options;
    mount.point = without_octal(point);
    table.push_back(std::move(mount));
  }
  return table;
}

std::string filesystem_type(uint64_t mount_id) {
  for (const auto& mount : mount_table())
    if (mount.id == mount_id) return mount.type;
  return {};
}

bool is_disk_filesystem(const std::string& type) {
  if (type == "zfs") return true;  // on disks, though the kernel does not know that
  std::ifstream file("/proc/filesystems");
  for (std::string line; std::getline(file, line);)
    if (line == "\t" + type) return true;  // the others are "nodev\tproc"
  return false;
}

}  // namespace vs
