// Releasing names of one master: stage bodies of release, plain functions over data that know nothing of
// threads. Each is called for all masters of a batch before the next (release.cc):
//   make_copies  the private copies, without a name; they are then synced to disk. Where a master has not the
//   bytes
//                that it was made with, they are those of another master with the same digest; if there is
//                none, each guest gets the bytes that it has seen, and this is told
//   announce     what the journal must know before
//   swap         each name gets its copy, by the same exchange as linking, in windows of the master that are
//                as long as one exchange: what a guest can make take long is done before and after
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/store/seal_keeper.h"
#include "core/store/unsealed_window.h"
#include "unify/change/directory_times.h"
#include "unify/change/exchange.h"
#include "unify/change/journal.h"
#include "unify/change/master_maker.h"
#include "unify/change/names_of_masters.h"

namespace vs::unify {

// Names of one master; copies are one a link group.
struct MasterRelease {
  MasterNumber master;
  std::vector<NameOfMaster> names;
  std::vector<std::string> staged;  // beside names
  std::vector<bool> stuck;       // beside names: what is in staging is the guest's, for recovery to put back
  std::vector<uint64_t> copies;  // inode of the copy, beside names; 0: could not be made
  std::vector<std::shared_ptr<UniqueFd>> files;  // the copies, without a name until the journal tells of them
  OpenMaster open;
  bool ready = false;
  bool as_seen = false;  // its bytes are not those that it was made with, and no others are known
  bool in_use = false;   // somebody runs, reads or has mapped it: names are renamed over (exchange.h)
  bool left_in_staging =
      false;          // a name there could not be removed: the batch is not done, recovery removes it
  bool torn = false;  // some names of a link group are released, others not, and that could not be mended
  UnsealedWindow::Verdict verdict = UnsealedWindow::Verdict::intact;
  ReasonCounts skipped{};
  uint64_t released = 0, bytes = 0;
};

class MasterReleaser {
 public:
  MasterReleaser(Guests guests, const Store& store, const Guard& guard, const MasterTable& masters,
                 SealKeeper& keeper, Log& log, const Cancel& cancel)
      : guests_(guests),
        store_(store),
        guard_(guard),
        masters_(masters),
        log_(log),
        cancel_(cancel),
        exchanger_(store, guard, masters, &keeper, counts_, log) {}

  // Names of one link group get names of one copy, as it was before; each other name gets a copy of its own.
  void make_copies(MasterRelease& one) const;
  // `fds`: the masters that will be unsealed, for the seal keeper.
  void announce(const MasterRelease& one, JournalBatch& intent, std::vector<int>& fds) const;
  void swap(MasterRelease& one);
  // After swap() of all masters of a batch.
  void put_directory_times_back() { directory_times_.put_back(); }
  StrayMasters& strays() { return exchanger_.strays(); }

 private:
  struct Place {
    UniqueFd dir;
    GuestName name;
    DirectoryTimes::Directory* watched = nullptr;
  };

  Expected<UniqueFd> copy_of(MasterRelease& one) const;
  Result make_copy(MasterRelease& one, size_t begin, size_t end) const;
  Result swap_group(MasterRelease& one, size_t begin, size_t end, const InWindow& in_window,
                    uint64_t& released);
  Expected<Exchange> give(MasterRelease& one, size_t i, const GuestName& name, const InWindow& in_window);
  void note_changed(const MasterRelease& one, const Place& place, const Expected<Exchange>& result);
  Expected<Exchange> exchange_one(MasterRelease& one, size_t i, const GuestName& name,
                                  const InWindow& in_window);
  Result stage_copies(MasterRelease& one, size_t begin, size_t end, std::vector<Place>& places, Lease& lease);
  uint64_t take_back(MasterRelease& one, const Lease& lease, const std::vector<Place>& places, size_t begin,
                     size_t end, const InWindow& in_window);
  Expected<Place> locate(const MasterRelease& one, size_t i) const;
  bool still_the_masters_class(const MasterRelease& one, size_t i) const;
  void remove_staged(MasterRelease& one, size_t i, const InWindow& in_window);
  void fail(MasterRelease& one, size_t begin, size_t count, const Problem& problem) const;
  std::string shown(const NameOfMaster& name) const;

  const Guests guests_;
  const Store& store_;
  const Guard& guard_;
  const MasterTable& masters_;
  Log& log_;
  const Cancel& cancel_;
  WindowCounts counts_;
  Exchanger exchanger_;
  DirectoryTimes directory_times_;
};

}  // namespace vs::unify
