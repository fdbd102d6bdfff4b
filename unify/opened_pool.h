// A pool with all that a verb works on: opened to look at it, or locked to change it.
//
// Opening changes nothing in a guest. Making whole what an interrupted run left is a call of its own
// (make_whole), which every verb that holds a LockedPool makes first.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/run_context.h"
#include "core/store/guard.h"
#include "core/store/pool.h"
#include "core/store/store.h"
#include "unify/change/recovery.h"
#include "unify/change/release.h"
#include "unify/options.h"
#include "unify/plan/link_plan.h"
#include "unify/plan/master_table.h"

namespace vs::unify {

// Pass 1: which trees there are, on which filesystem, and where their store is or will be.
struct PoolInventory {
  const Options& options;
  Rules rules;
  std::vector<Guest> guests;
  Pool pool;
  std::string store_path;

  bool has_store() const;
};
// Throws Error(Exit::usage) for bad options and for trees that are no pool.
PoolInventory take_inventory(const Options& options, RunContext& context);

GuestNumber guest_number(Guests guests, const std::string& name);  // throws Error(Exit::usage)

// What a run keeps so that the next one is quicker. Looking keeps nothing.
struct KeptKnowledge {
  std::optional<std::string> package_cache;  // directory for what rpm databases say
  Index* index = nullptr;
};

// Opened to look at it: gives out nothing that can be changed, and there may be no store yet.
class OpenedPool {
 public:
  const Options& options() const { return found_.options; }
  const Rules& rules() const { return found_.rules; }
  Guests guests() const { return found_.guests; }
  const Pool& pool() const { return found_.pool; }
  const std::string& store_path() const { return found_.store_path; }
  const Store* store() const { return store_.get(); }  // nullptr: there is none yet
  const Guard& guard() const { return *guard_.guard; }
  const std::vector<GuardVerdict>& guards_considered() const { return guard_.considered; }
  const Index& index() const { return *index_; }
  const MasterTable& masters() const { return masters_; }

 protected:
  friend OpenedPool look_at_pool(PoolInventory found, RunContext& context);
  explicit OpenedPool(PoolInventory found) : found_(std::move(found)) {}
  // The guests' roots and the store are seen through one private view of their mount, where that is possible.
  void open(bool writing, RunContext& context);

  PoolInventory found_;
  std::optional<HostLock> state_lock_;  // locked pools only
  std::optional<NodevMount> view_;
  GuardChoice guard_;
  std::unique_ptr<Store> store_;
  std::optional<HostLock> store_lock_;  // locked pools only
  std::unique_ptr<Index> index_;
  MasterTable masters_;
};
// Writes nothing. Logs a warning if an earlier run was interrupted.
OpenedPool look_at_pool(PoolInventory found, RunContext& context);

// Opened to change it: the locks of the state directory and of the store are held as long as this lives, and
// there is a store.
class LockedPool : public OpenedPool {
 public:
  const Store& store() const { return *store_; }
  using OpenedPool::index;
  using OpenedPool::masters;
  Index& index() { return *index_; }
  MasterTable& masters() { return masters_; }
  const NodevMount* view() const { return view_ ? &*view_ : nullptr; }
  std::string package_cache() const { return options().state + "/packages"; }
  KeptKnowledge kept() { return {package_cache(), index_.get()}; }

  JournalRun journal_run(const std::string& verb, const std::string& run) const;
  ReleaseInput release_input(const JournalRun& run);  // refers to `run`

 private:
  friend LockedPool lock_pool(PoolInventory found, RunContext& context);
  explicit LockedPool(PoolInventory found) : OpenedPool(std::move(found)) {}
};
// Makes the store if there is none. Throws Error: Exit::locked when another run holds a lock.
LockedPool lock_pool(PoolInventory found, RunContext& context);
// Throws Error unless we are root. For verbs that change something, before anything else.
void require_root();

// Pass 2: finishes or takes back what an interrupted run left, looks at all seals (seal_check.h), then gives
// every name of a spoiled master a private copy. Throws Error if something could not be made whole now.
RecoveryResult make_whole(LockedPool& pool, RunContext& context);

// Gives every name of a spoiled master (release.h) a private copy; done by make_whole(), and after each work
// that may have left one.
void release_spoiled(LockedPool& pool, RunContext& context);

// The four steps above for a verb that may always write: require_root, inventory, lock, make whole.
LockedPool open_whole_pool(const Options& options, RunContext& context);

PlanHeader header_for(const OpenedPool& pool);

}  // namespace vs::unify
