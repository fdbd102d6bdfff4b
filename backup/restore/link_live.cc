// --link-live: shared files become names of the masters of vunify's store (live_masters.h).
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "backup/restore/live_masters.h"
#include "backup/restore/restore_work.h"

namespace vs::backup {
namespace {

// A killed run of this command made it.
bool is_name_of(int fd, int dir, const std::string& name) {
  const auto one = stat_fd(fd, name), other = stat_at(dir, name.c_str(), name);
  return one && other && one->ino == other->ino && one->dev == other->dev;
}

// Gives the master behind `fd` the object's names, from `made` on, as far as that goes.
void link_names(int fd, const std::vector<std::string>& names, size_t& made, const RestoreWork& work) {
  ParentDirs parents(work.root);
  const std::string from = "/proc/self/fd/" + std::to_string(fd);
  for (; made < names.size(); ++made) {
    const auto parent = parents.of(names[made]);
    const std::string name(split_path(names[made]).second);
    if (!parent || (::linkat(AT_FDCWD, from.c_str(), *parent, name.c_str(), AT_SYMLINK_FOLLOW) != 0 &&
                    !(errno == EEXIST && is_name_of(fd, *parent, name))))
      break;
  }
}

// Takes back the names that were made; `made` tells how many are left.
Result unlink_names(const std::vector<std::string>& names, size_t& made, const RestoreWork& work) {
  ParentDirs parents(work.root);
  for (; made > 0; --made) {
    const auto parent = parents.of(names[made - 1]);
    if (!parent) return parent.error();
    if (::unlinkat(*parent, std::string(split_path(names[made - 1]).second).c_str(), 0) != 0)
      return problem_from_errno("remove the new name of a master", names[made - 1]);
  }
  return Ok{};
}

}  // namespace

void link_to_masters(RestorePlan& plan, const RestoreWork& work) {
  if (!work.options.link_store) return;
  LiveMasters masters(*work.options.link_store, make_immutable_guard(), work.context.cancel,
                      work.context.log);
  for (auto& object : plan.objects) {
    if (work.context.cancel.stop()) throw work.incomplete("interrupted", Exit::interrupted);
    if (!object.shared || object.entry.type != 'f' || object.names.empty()) continue;
    size_t made = 0;
    const auto linked = masters.link_to(
        object.entry,
        [&](int fd) {
          link_names(fd, object.names, made, work);
          return made;
        },
        [&] { return unlink_names(object.names, made, work); });
    if (!linked) work.fail(object.names[0], linked.error());
    if (made == 0) continue;
    plan.counts.linked_live += made;
    // The names for which there was no room any more (too many links) become a file of their own.
    object.names.erase(object.names.begin(), object.names.begin() + static_cast<ptrdiff_t>(made));
  }
  std::erase_if(plan.objects, [](const PlannedObject& object) { return object.names.empty(); });
}

}  // namespace vs::backup
