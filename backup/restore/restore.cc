#include "backup/restore/restore.h"

#include <fmt/format.h>

#include "backup/restore/restore_work.h"

namespace vs::backup {
namespace {

// What this very command restores: only the same command goes on where a killed one stopped.
std::string identity_of(const RestorePlan& plan, const RestoreOptions& options) {
  return fmt::format("{}devices: {}, masters: {}, {} objects of {} bytes in {} directories\n", plan.identity,
                     options.devices ? "yes" : "no", options.link_store.value_or("none"), plan.objects.size(),
                     plan.counts.bytes, plan.directories.size());
}

RestorePlace open_place(const RestorePlan& plan, const std::vector<Selection>& selections,
                        const RestoreOptions& options) {
  std::vector<std::string> guests;
  for (const auto& selection : selections) guests.push_back(selection.name());
  return {options.target, guests, identity_of(plan, options), options.link_store.has_value()};
}

template <class Body>
void pass(const char* name, const RestoreWork& work, const Body& body) {
  if (work.context.cancel.stop()) throw work.incomplete("interrupted", Exit::interrupted);
  const auto timed = work.context.timer.time(name);
  body();
}

}  // namespace

RestoreCounts restore(StoredBackups& backups, const std::vector<Selection>& selections,
                      const RestoreOptions& options, RunContext& context) {
  // 1. What is to be made, from the catalogs. First, because a state that is not there ends the command
  //    before anything was written. After it names and numbers are fixed.
  RestorePlan plan;
  {
    const auto timed = context.timer.time("plan");
    plan = plan_restore(backups, selections, options, context);
  }
  if (options.dry_run) return plan.counts;

  // 2. The work directory in the target, locked. After it no other restore works there, and it is known
  //    whether a killed run of this command had made all of it.
  RestorePlace place = open_place(plan, selections, options);
  const RestoreWork work{options, context, place, place.dir()};
  context.progress.start("restoring", "objects", plan.objects.size());
  if (!place.was_complete()) {
    // 3. Directories, for root alone (0700), so that each name has a place and nobody looks in
    //    meanwhile.
    pass("directories", work, [&] { make_directories(plan, work); });

    // 4. Names of live masters. Before the objects, because what is linked need not be unpacked; names
    //    that found no master are left for them.
    pass("link_live", work, [&] { link_to_masters(plan, work); });

    // 5. Objects with their bytes, owners, modes and attributes, each under its first name.
    pass("objects", work, [&] { make_objects(plan, work); });

    // 6. Further names. After the objects, because a link needs what it is a link to.
    pass("links", work, [&] { make_links(plan, work); });

    // 7. Owners and times of directories, deepest first. After all names, because each name that is made
    //    moves the times of its directory.
    pass("attributes", work, [&] { finish_directories(plan, work); });

    // 8. All of it on the disk. After it a killed run is gone on with and not begun anew.
    pass("sync", work, [&] { place.complete(); });
  }
  // 9. Inode flags that seal, per inode. After all else, because an immutable inode takes no link and an
  // immutable
  //    directory no name. May be the second time.
  pass("flags", work, [&] { set_flags(plan, work); });

  // 10. Each vserver gets its name. Last, because whoever sees the name may use all of it.
  pass("place", work, [&] { put_in_place(plan, selections, work); });
  context.progress.finish();
  return plan.counts;
}

}  // namespace vs::backup
