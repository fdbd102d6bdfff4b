#include "unify/own_project.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/typed_table.h"
#include "unify/plan/plan_maker.h"

namespace vs::unify {
namespace {

// Whose names of a master are known.
struct Holder {
  std::optional<GuestNumber> guest;
  bool several = false;
  uint64_t names = 0;

  void add(GuestNumber more) {
    several = several || (guest && *guest != more);
    guest = more;
    ++names;
  }
};
using Holders = TypedVector<MasterNumber, Holder>;

// Masters that nobody may have but one guest with a project, as far as the scan saw: it does not go into what
// is excluded.
bool may_be_uncounted(const OpenedPool& pool, const Holders& seen, const TypedBits<GuestNumber>& counted) {
  for (MasterNumber i; i < seen.next_number(); ++i) {
    const Holder& holder = seen[i];
    if (holder.several || !holder.guest || !counted[*holder.guest]) continue;
    const auto stat = pool.store()->stat_master(pool.masters()[i].name);
    if (stat && stat->nlink > 1) return true;
  }
  return false;
}

// The names of masters that are all one guest's.
std::vector<NameOfMaster> uncounted_names(const LockedPool& pool, std::vector<NameOfMaster> names,
                                          const TypedBits<GuestNumber>& counted, const GuestFiles& files) {
  Holders holders(pool.masters().size());
  for (const auto& name : names)
    if (name.seen) holders[name.master].add(name.guest);
  TypedBits<MasterNumber> uncounted(holders.size());
  for (MasterNumber i; i < holders.next_number(); ++i) {
    const Holder& holder = holders[i];
    if (holder.several || !holder.guest || !counted[*holder.guest]) continue;
    if (files.left_alone[*holder.guest]) continue;  // its package manager is at work, or it is held
    const auto stat = pool.store().stat_master(pool.masters()[i].name);
    uncounted[i] = stat && stat->nlink == holder.names + 1;
  }
  std::erase_if(names, [&](const NameOfMaster& name) { return !uncounted[name.master]; });
  return names;
}

}  // namespace

void give_back_uncounted(LockedPool& pool, const GuestFiles& files, RunContext& context) {
  if (!pool.options().guests.empty() || context.cancel.stop() || !pool.guard().shares_inodes()) return;
  const auto counted = guests_with_project(pool.guests());
  if (std::find(counted.begin(), counted.end(), true) == counted.end()) return;
  Holders seen(pool.masters().size());
  for (const auto& sighting : files.sightings) seen[sighting.master].add(sighting.guest);
  if (!may_be_uncounted(pool, seen, counted)) return;
  auto names = find_names_of_masters(pool.guests(), pool.masters(), pool.options().state, context);
  names = uncounted_names(pool, std::move(names), counted, files);
  if (names.empty()) return;
  context.log.info(
      fmt::format("{} names of shared files that no other vserver has any more get private copies, "
                  "which count for the quota of their vserver",
                  names.size()));
  const JournalRun run = pool.journal_run("release", new_run_id());
  const ReleaseResult released = release_names(pool.release_input(run), std::move(names), context);
  const uint64_t full = released.skipped[static_cast<size_t>(Reason::no_space)];
  if (full != 0)
    context.log.warning(
        fmt::format("{} of them stay shared and count for nobody, for want of space or quota", full));
}

}  // namespace vs::unify
