#include "backup/restore/remove_below.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "core/store/inode_flags.h"
#include "core/tree/dir_reader.h"
#include "core/unique_fd.h"

namespace vs::backup {
namespace {

// What is refused shows when the names are removed.
void take_seal_off(int fd) {
  static_cast<void>(change_inode_flags(fd, kSealFlags, false, ""));
}

}  // namespace

void remove_below(int dir, bool unseal) {
  std::vector<std::pair<std::string, uint8_t>> entries;
  {
    const UniqueFd fd(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return;
    DirReader reader;
    reader.start(fd.get(), "");
    for (DirEntry entry; reader.next(entry);) entries.emplace_back(std::string(entry.name), entry.type);
    if (unseal) take_seal_off(fd.get());
  }
  for (const auto& [name, type] : entries) {
    if (type == DT_DIR) {
      UniqueFd sub(::openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (sub) remove_below(sub.get(), unseal);
      ::unlinkat(dir, name.c_str(), AT_REMOVEDIR);
    } else if (::unlinkat(dir, name.c_str(), 0) != 0 && errno == EPERM && type == DT_REG && unseal) {
      UniqueFd file(::openat(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
      if (file) take_seal_off(file.get());
      ::unlinkat(dir, name.c_str(), 0);
    }
  }
}

}  // namespace vs::backup
