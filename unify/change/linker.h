// Linking the duplicates of one group to its master: stage bodies of apply, plain functions over data that
// know nothing of threads.
//
// A group goes through three steps, each called for all groups of a batch before the next (apply.cc):
//   prepare  find or make the master; the new masters of the batch are then synced to disk
//   link     per duplicate: prove that it is still what the plan says, that nobody writes to it, and that its
//            bytes are the master's, all of this while the master is sealed; then exchange, in windows
//   settle   a little later: the old inode of each duplicate, in staging and out of the guest's reach, must
//            still be what it was; only then it is deleted, else the guest gets it back
// The master is unsealed for the exchange of names only: what takes a time that a guest can choose (reading
// its files and directories, searching a name that it moved) is done before and after. Such a window has
// names of one guest, few of them, and is ended when its time is over, so that no guest holds open what
// others share. The master's lease lasts until settle, so that a duplicate can be given back whatever a guest
// does meanwhile. Up to settle no byte of a guest exists only in a shared inode, so whatever goes wrong
// before can be undone from staging.
//
// A file that somebody runs, has mapped or has open is left for later (exchange.h, "What runs"): asked right
// after its lease is taken, and once more when it is settled, since one that was begun in between has the
// name that is now in staging; the guest gets its inode back then. What was left is tried again by a work for
// which the guest stands still between compare and exchange (apply.cc).
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/store/unsealed_window.h"
#include "unify/change/directory_times.h"
#include "unify/change/exchange.h"
#include "unify/change/journal.h"
#include "unify/change/master_maker.h"

namespace vs::unify {

struct StagedName {
  enum class State : uint8_t {
    planned,     // nothing was done yet, or nothing is left of it
    staged,      // the master has this name in staging
    exchanged,   // the guest's name is the master's, the old inode is in staging
    unexpected,  // the same, but what is in staging is not the old inode: to be put back
  };
  std::string staged;
  RowNumber row;
  State state = State::planned;
};

// A duplicate whose names are the master's now and whose old inode waits in staging.
struct SwappedDuplicate {
  DuplicateNumber duplicate;
  UniqueFd fd;  // of the old inode
  Lease lease;
  FileStat before;
  std::vector<StagedName> names;
  std::optional<Problem> refused;  // why it keeps its own inode after all
};

// Of the guests whose names a work changes.
enum class Processes : uint8_t {
  running,         // files that somebody has open are left
  standing_still,  // frozen while names are changed: names are renamed over
  none,            // nobody in the guest runs anything: who has a file open is of the host
};

struct GroupWork {
  GroupNumber group;
  DuplicateNumber begin, end;  // still to do
  uint32_t first_staged = 0;   // number of the first staging name that belongs to this work
  Processes processes = Processes::running;
  std::optional<MasterNumber> master_index;  // in the master table, for an existing one
  std::optional<MasterNumber>
      unusable_master;  // was found to be not what the index knows: gets no names any more
  OpenMaster master;
  std::unique_ptr<UnsealedWindow> window;  // from link to settle, in which the work must stay where it is
  bool ready = false;                      // prepared: `master` is valid
  bool full = false;                       // the filesystem allows no more links to it
  bool opened = false;                     // the window was, once
  bool left_in_staging =
      false;  // a name there could not be removed: the batch is not done, recovery removes it
  UnsealedWindow::Verdict verdict = UnsealedWindow::Verdict::intact;
  std::vector<SwappedDuplicate> checked;  // by compare(), for exchange()
  std::vector<SwappedDuplicate> swapped;
  std::vector<std::pair<DuplicateNumber, Reason>> refused;
  std::vector<DuplicateNumber> deferred;                      // duplicates that need another master
  std::vector<DuplicateNumber> in_use;                        // duplicates that somebody has open
  std::vector<std::pair<RowNumber, DuplicateNumber>> linked;  // settled
};

struct LinkerCounts : WindowCounts {
  std::atomic<uint64_t> files_linked{0};
  std::atomic<uint64_t> bytes_freed{0};  // on disk, of the old inodes
  std::atomic<uint64_t> bytes_held{0};   // the same, of those that running programs hold until they end
  std::atomic<uint64_t> put_back{0};     // duplicates that changed in the middle of it
};

class Linker {
 public:
  Linker(const Store& store, const Guard& guard, PlannedFiles files, const MasterTable& masters,
         SealKeeper* keeper, bool ignore_mtime, LinkerCounts& counts, Log& log)
      : store_(store),
        guard_(guard),
        files_(files),
        masters_(masters),
        ignore_mtime_(ignore_mtime),
        counts_(counts),
        log_(log),
        exchanger_(store, guard, masters, keeper, counts, log) {}

  // Guests for which this says true keep their files (Reason::package_work). Asked for each duplicate before
  // it is compared, by several threads.
  void leave_alone(std::function<bool(GuestNumber)> which) { left_alone_ = std::move(which); }

  void prepare(GroupWork& work);
  // What the journal must know before link(): the same staging names that link() will use.
  void announce(const GroupWork& work, JournalBatch& batch) const;
  // link in two parts: all that reads, and the exchange of names.
  void compare(GroupWork& work);
  void exchange(GroupWork& work);
  void link(GroupWork& work) {
    compare(work);
    exchange(work);
  }
  void settle(GroupWork& work);
  // After the works of a batch are settled: closes its directories and puts their times back.
  void finish_directories();
  StrayMasters& strays() { return exchanger_.strays(); }

 private:
  const FileRow& row(RowNumber r) const { return files_.table.rows()[r]; }
  const Guest& guest(RowNumber r) const { return files_.guests[files_.table.guest(row(r))]; }
  std::string shown(RowNumber r) const { return guest(r).root.host_path(files_.table.path(row(r))); }
  uint32_t names_of(DuplicateNumber duplicate) const {
    return files_.plan.duplicates[duplicate].end - files_.plan.duplicates[duplicate].begin;
  }
  std::string staged_name(const GroupWork& work, DuplicateNumber duplicate, uint32_t name) const;
  bool all_in_use(const GroupWork& work) const;
  Expected<SwappedDuplicate> check_duplicate(GroupWork& work, DuplicateNumber duplicate,
                                             const std::string& bytes);
  Result same_bytes(int duplicate_fd, const GroupWork& work, const std::string& bytes,
                    const std::string& object) const;
  // Open until the batch is done. One that a guest moves meanwhile is still the guest's, and what comes out
  // of an exchange in it is looked at.
  struct BatchDirectory {
    UniqueFd fd;
    DirectoryTimes::Directory* watched = nullptr;
  };
  // A name that is to be exchanged in the next window; its directory is open.
  struct NextName {
    SwappedDuplicate* duplicate = nullptr;
    StagedName* name = nullptr;
    DirectoryTimes::Directory* directory = nullptr;
    GuestName place;
  };
  void exchange_all(GroupWork& work);
  std::vector<NextName> next_names(std::vector<SwappedDuplicate>& checked, size_t& duplicate, size_t& name);
  size_t exchange_in_window(GroupWork& work, std::vector<NextName>& names);
  Result exchange_name(GroupWork& work, NextName& next);
  void note_changed(const GroupWork& work, const NextName& next);
  Result unchanged_so_far(const SwappedDuplicate& duplicate) const;
  InWindow in_window(GroupWork& work);
  // For what stood in the way; where that is the number of links of this master, it waits for another.
  void refuse(GroupWork& work, DuplicateNumber duplicate, const Problem& problem);
  void take_back(GroupWork& work, SwappedDuplicate& duplicate);
  void return_duplicates(GroupWork& work, const std::vector<SwappedDuplicate*>& to_return);
  void remove_staged(GroupWork& work, const StagedName& name);
  bool unchanged(const SwappedDuplicate& duplicate, const MasterRecord& master) const;
  Expected<UniqueFd> open_dir_of(RowNumber r) const;
  GuestName name_in(int dir, RowNumber r) const;
  // The directory of this row, opened once a batch.
  Expected<const BatchDirectory*> directory_of(RowNumber r);

  const Store& store_;
  const Guard& guard_;
  const PlannedFiles files_;
  const MasterTable& masters_;
  const bool ignore_mtime_;
  LinkerCounts& counts_;
  Log& log_;
  Exchanger exchanger_;
  DirectoryTimes directory_times_;
  std::mutex directories_mutex_;
  std::map<DirNumber, BatchDirectory> directories_;
  std::function<bool(GuestNumber)> left_alone_ = [](GuestNumber) { return false; };
};

}  // namespace vs::unify
