#include "backup/restore/remove_below.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "core/store/inode_flags.h"
#include "core/tree/walker.h"

namespace vs::backup {
namespace {

// What is refused shows when the names are removed.
void take_seal_off(int fd) {
  static_cast<void>(change_inode_flags(fd, kSealFlags, false, ""));
}

class Removal final : public TreeVisitor {
 public:
  explicit Removal(bool unseal) : unseal_(unseal) {}

  Expected<bool> visit(const WalkEntry& entry) override {
    if (entry.type == DT_DIR) return true;
    if (::unlinkat(entry.dir.fd(), entry.name.data(), 0) == 0 || errno != EPERM) return false;
    if (entry.type != DT_REG || !unseal_) return false;
    if (const auto file = entry.dir.open_regular(entry.name)) take_seal_off(file->get());
    ::unlinkat(entry.dir.fd(), entry.name.data(), 0);
    return false;
  }
  Result enter(const WalkDirectory& dir) override {
    if (unseal_) take_seal_off(dir.dir.fd());
    return Ok{};
  }
  Result leave(const WalkDirectory& dir) override {
    if (dir.above != nullptr) ::unlinkat(dir.above->fd(), dir.name.data(), AT_REMOVEDIR);
    return Ok{};
  }
  bool failed(const Problem&) override { return true; }

 private:
  bool unseal_;
};

}  // namespace

void remove_below(int dir, bool unseal) {
  UniqueFd top(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!top) return;
  Removal removal(unseal);
  const RootDir root(std::move(top), "", false);
  static_cast<void>(walk_tree(root, removal, {.leaves = true}).has_value());
}

}  // namespace vs::backup
