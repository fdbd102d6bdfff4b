// Private copies back: for `vunify release` (a guest wants to upgrade) and `vunify undo` (a run shall not
// have been).
#pragma once

#include <functional>
#include <span>

#include "core/run_context.h"
#include "core/store/guard.h"
#include "unify/change/apply.h"
#include "unify/change/journal.h"
#include "unify/plan/master_table.h"

namespace vs::unify {

struct NameOfMaster {
  uint32_t guest = 0;
  uint32_t master = 0;
  std::string path;
  uint64_t link_group = 0;  // not 0: was a hard link of the other names with this number (known_link_groups)
  bool seen = true;         // false: the run history knows it and it could not be looked at now
  bool operator==(const NameOfMaster&) const = default;
};

// All names of masters in the guests, sorted by (master, guest, link group, path). One walk, and the run
// history in state_dir: what that knows as a hard link of such a name and what could not be looked at is
// among them, not `seen`.
std::vector<NameOfMaster> find_names_of_masters(std::span<const Guest> guests, const MasterTable& masters,
                                                const std::string& state_dir, RunContext& context);

// Those that are wanted, and with each the names that were hard links of it: what was one file shall not
// become two.
std::vector<NameOfMaster> select_names(std::vector<NameOfMaster> names,
                                       const std::function<bool(const NameOfMaster&)>& wanted);

struct ReleaseInput {
  std::span<const Guest> guests;
  const Store& store;
  const Guard& guard;
  MasterTable& masters;
  Index& index;
  const JournalRun& run;
  std::string state_dir;
};

struct ReleaseResult {
  uint64_t released = 0;
  uint64_t bytes_copied = 0;
  ReasonCounts skipped{};
};

// Each name gets a copy of its master, writable by its guest, by the same exchange as linking; journaled.
// Names whose inode is not the master any more are left alone (changed_meanwhile). Names of one link group
// become links of one copy, all of them or none; all others, equal as they are, become files of their own, as
// they were. (Only a guest that writes to a copy in the very microseconds in which a link of it is refused
// has a group split: its bytes come first.)
ReleaseResult release_names(const ReleaseInput& input, std::vector<NameOfMaster> names, RunContext& context);

// Masters that were retired because a guest won against the seal (core/store/unsealed_window.h): sealed, but
// with another owner, mode, time or attribute than they were made with. Guests must not have names of them.
std::vector<uint32_t> spoiled_masters(const Store& store, const MasterTable& masters);

struct GcResult {
  uint64_t removed = 0;
  uint64_t bytes_freed = 0;
  uint64_t failed = 0;
};
struct GcInput {
  const Store& store;
  const Guard& guard;
  const MasterTable& masters;
  Index& index;
  const JournalRun& run;
  std::string state_dir;
};
// What collect_garbage() would remove: masters that no guest has a name of. Changes nothing.
GcResult find_garbage(const Store& store, const MasterTable& masters, RunContext& context);
// Removes them, journaled as a run without steps, so that recovery seals what a kill left unsealed.
GcResult collect_garbage(const GcInput& input, RunContext& context);

}  // namespace vs::unify
