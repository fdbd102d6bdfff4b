#include "backup/cli/named_archive.h"

#include <fmt/format.h>

#include "core/escape.h"

namespace vs::backup {

Archive the_one(const ArchiveSet& set, const Selection& selection) {
  const auto history = set.history(selection.guest);
  const StateTime& time = *selection.time;
  const std::string guest = escaped(selection.guest), text = escaped(time.text);
  const Archive* found = nullptr;
  for (const auto& archive : history) {
    const bool within =
        time.within ? archive.header.stamp >= time.within->first && archive.header.stamp <= time.within->last
                    : &archive == &history.back();
    if (!within) continue;
    if (found != nullptr)
      throw Error(fmt::format("{} of {} is {} as well as {}; name one of them", text, guest,
                              found->header.stamp, archive.header.stamp),
                  Exit::usage);
    found = &archive;
  }
  if (found == nullptr)
    throw Error(fmt::format("no backup of {} is of {} (UTC): name one that vbackup list shows", guest, text),
                Exit::usage);
  return *found;
}

std::optional<HostLock> lock_to_change(ArchiveSet& set, bool dry_run) {
  if (dry_run) return std::nullopt;
  std::optional<HostLock> lock(set.lock());
  set.write_lost_identity();
  set.reload();
  return lock;
}

}  // namespace vs::backup
