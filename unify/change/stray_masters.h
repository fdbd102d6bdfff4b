// Masters that are in the way of an exchange which is not about them.
//
// While master M is unsealed in its window, a guest can rename a name of M, also over a file that is being
// exchanged for another master in this very moment. Then a name of M comes out into staging, or stands where
// something must go back, and by the time that is seen M is sealed again: the filesystem refuses to move it.
// So M gets a window of its own for that one step.
//
// Argument. M can have been renamed only after it was unsealed in this batch, so its batch is in the journal
// and names it: killed in here, the seal keeper seals it, and so does recovery. No other thread has M
// unsealed then: that the name is refused proves that M's first window is over, windows in here come one
// after the other, and who unseals a master again after its first window keeps those in here away for it
// (alone(), beside_others()). What a window in here did to a master is told by changed() and left_unsealed(),
// as UnsealedWindow's verdict is. No lease (somebody waits with an open for writing): nothing is unsealed,
// EAGAIN.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "core/store/guard.h"
#include "core/store/seal_keeper.h"
#include "core/store/unsealed_window.h"
#include "unify/change/master_maker.h"
#include "unify/plan/master_table.h"

namespace vs::unify {

class StrayMasters {
 public:
  // `keeper`: nullptr in recovery, which needs none: its journal stays until all is sealed.
  StrayMasters(const Store& store, const Guard& guard, const MasterTable& masters, SealKeeper* keeper,
               WindowCounts& counts, Log& log)
      : store_(store), guard_(guard), masters_(masters), keeper_(keeper), counts_(counts), log_(log) {}

  // Runs `step` while those of these inodes that are sealed masters are unsealed. Its result, or what stood
  // in the way.
  Result with_unsealed(std::initializer_list<uint64_t> inos, const std::function<Result()>& step);
  // Whose inode this is, open; nothing when it is no master's.
  std::optional<OpenMaster> find(uint64_t ino) const;
  // Held while a master is unsealed that was unsealed in this batch before, by who may need with_unsealed()
  // meanwhile. May be held already by the caller's thread.
  class Alone {
   public:
    Alone() = default;
    explicit Alone(StrayMasters& strays);
    Alone(Alone&& other) noexcept : strays_(std::exchange(other.strays_, nullptr)) {}
    Alone& operator=(Alone&&) = delete;
    ~Alone();

   private:
    StrayMasters* strays_ = nullptr;
  };
  Alone alone() { return Alone(*this); }
  // The same by who never needs it: any number of these at a time, each for a master of its own.
  std::shared_lock<std::shared_mutex> beside_others() { return std::shared_lock(windows_); }

  // Between batches. Masters that are not what they were since changed() was called last: to be retired.
  std::vector<MasterNumber> changed() { return std::exchange(changed_, {}); }
  // Retires these in the table; their records, for the index.
  std::vector<MasterRecord> retire_changed(MasterTable& masters);
  bool left_unsealed() const { return left_unsealed_; }

 private:
  struct Stray;
  Result unseal(std::vector<std::unique_ptr<Stray>>& strays, std::initializer_list<uint64_t> inos);
  void seal(Stray& stray);
  const Store& store_;
  const Guard& guard_;
  const MasterTable& masters_;
  SealKeeper* const keeper_;
  WindowCounts& counts_;
  Log& log_;
  std::recursive_mutex mutex_;
  std::shared_mutex windows_;  // after mutex_
  int depth_ = 0;              // of alone(), in the thread that has mutex_
  std::vector<MasterNumber> changed_;
  bool left_unsealed_ = false;
};

// Throws Error where members of a batch (each with `verdict` and `left_in_staging`) left something for
// recovery, so that the batch must not be called done: an unsealed master (the seal keeper tries once more
// when this process ends), or a name in staging, which the next batch would meet; and a directory from which
// nothing can be removed is no place to go on.
template <class Batch>
void stop_if_left_for_recovery(const Batch& batch, const StrayMasters& strays, const Store& store) {
  bool unsealed = strays.left_unsealed();
  for (const auto& one : batch) unsealed = unsealed || one.verdict == UnsealedWindow::Verdict::unsealed;
  if (unsealed)
    throw Error("stopped, since a master could not be sealed (see above); vunify recover seals it");
  for (const auto& one : batch)
    if (one.left_in_staging)
      throw Error("stopped, since a name could not be removed from " + store.path() +
                  "/staging (see above); vunify recover removes it");
}

}  // namespace vs::unify
