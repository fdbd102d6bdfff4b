// The one step that changes a guest's tree: a name in the store's staging directory and a name in the guest
// change places, atomically, and what came out is looked at.
//
// Argument. renameat2(RENAME_EXCHANGE) leaves no moment without the name, no temporary name in the guest, and
// loses no inode: what the guest had is in staging, where only the host can reach it by name. Which inode
// that is cannot be told to the kernel beforehand, so it is looked at afterwards; if the guest had put
// something else there in between (new file, directory, device), it is exchanged back at once. A guest that
// replaces the name a second time within these microseconds gets its latest inode, found by what comes out of
// the next exchange. One that moved the name away meanwhile has moved our inode: it is searched in the same
// directory and exchanged there. What cannot be placed goes to the store's lost/ with a line that names it;
// it is never deleted. What a guest renamed a master's name over, while that master was unsealed, needs it
// unsealed once more (stray_masters.h).
//
// What runs. A program that a guest runs, and each library that it has mapped, is known in /proc by the name
// that its file has: an exchange takes that name along into staging, and then start-stop-daemon, pidof,
// needrestart and others do not know the program any more. So a file that somebody has open (lease.h tells)
// is exchanged in no guest that runs. It is renamed over instead, as a package manager does it: then what
// runs has its own path, and "(deleted)". Renaming over destroys what has the name at that moment, so it is
// done only where nobody can have put something else there:
//   linking     while all processes of the guest stand still (guest_freezer.h)
//   releasing   in the window of the master: outside of it the kernel lets nobody rename over a sealed file,
//   or
//               remove it. Who tries that without an end may hit the two calls between our look at the name
//               and the rename, and loses the file that he put there to his own copy of the master
// The old inode has a second name in staging before, so that nothing is lost when we die, and afterwards all
// is as after an exchange. Whether what was renamed over was the old inode is seen by its number of names; if
// it was not, this is said.
//
// A guest with a quota of its own (DISK of the runtime) has directories that hand their project down, and the
// filesystem lets in nothing of another one. A private copy gets the guest's project, and counts for it from
// then on. For the one call, in its window, a master carries the guest's project, and then its own again, so
// no guest is charged for it.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/log.h"
#include "core/store/store.h"
#include "unify/change/stray_masters.h"

namespace vs::unify {

// A name in a guest, by its parent directory (O_PATH, opened beneath the guest's root).
struct GuestName {
  int dir = -1;
  std::string name;
  std::string shown;  // for messages: host path
};

// Runs one step in the window of the caller's master, which is as long as that step, under the lease that the
// caller holds. An empty one: the master gets a window of its own, with another lease (StrayMasters).
using InWindow = std::function<Result(const std::function<Result()>& step)>;

enum class Exchange {
  done,      // the guest's name has new_ino, staging has old_ino
  put_back,  // something else was there; the guest has its own again, staging has new_ino
  lost,   // as put_back, but what the guest had could not be put back: it is in lost/, the message was logged
  stuck,  // as lost, but not even that could be done: it is in staging, where it must stay for recovery
};

// May be used by several threads, each with names of its own.
class Exchanger {
 public:
  // All must outlive it. `keeper`: see StrayMasters.
  Exchanger(const Store& store, const Guard& guard, const MasterTable& masters, SealKeeper* keeper,
            WindowCounts& counts, Log& log)
      : store_(store), masters_(masters), log_(log), strays_(store, guard, masters, keeper, counts, log) {}

  // `staged` in staging is new_ino. A Problem means that nothing was exchanged. Two system calls; true: the
  // guest's name has new_ino, staging has old_ino. False: something else was there, and put_back() must
  // follow, which may take longer: the guest may make it search.
  Expected<bool> try_exchange(const std::string& staged, const GuestName& name, uint64_t old_ino);
  // The same by renaming over it: see "What runs" above. `old_fd` is open, of old_ino. Never false: ESTALE
  // when something else is there.
  Result try_replace(const std::string& staged, const GuestName& name, int old_fd, uint64_t old_ino);
  // Of an interrupted one, in its window: afterwards it was done, or not begun.
  void settle_replace(const std::string& staged, uint64_t old_ino);
  // try_exchange and put_back in one; by `in_window` a master is unsealed for each single step.
  Expected<Exchange> exchange(const std::string& staged, const GuestName& name, uint64_t new_ino,
                              uint64_t old_ino, const InWindow& in_window = {});

  // The guest's name has new_ino and staging what the guest shall get back. After this staging has new_ino
  // (or nothing, when the guest removed it); the guest has what it should. Used for undoing a good exchange
  // and by recovery. Never `done`.
  // A master is unsealed for each single step, by `in_window`.
  Exchange put_back(const std::string& staged, const GuestName& name, uint64_t new_ino,
                    const InWindow& in_window = {});

  // Moves a staging entry to lost/ under a name that tells when and whence (of a master: a copy of it).
  // False: it is still in staging. Either is logged.
  bool keep_as_lost(const std::string& staged, const std::string& shown, const InWindow& in_window = {});

  // Of a staging entry that nobody needs any more.
  Result remove(const std::string& staged, const std::string& shown, const InWindow& in_window = {});

  StrayMasters& strays() { return strays_; }

 private:
  // `flags` of renameat2: RENAME_EXCHANGE, or 0 to rename over.
  Result swap(const char* doing, const std::string& staged, const GuestName& name, unsigned flags) const;
  Result swap_as_project(const char* doing, const std::string& staged, const GuestName& name, unsigned flags,
                         const Result& refused) const;
  Result swap_unsealed(const std::string& staged, const GuestName& name, const InWindow& in_window);
  Result unsealed(std::initializer_list<uint64_t> inos, const InWindow& in_window,
                  const std::function<Result()>& step);
  std::optional<uint64_t> staged_ino(const std::string& staged, const std::string& shown);
  Result move_to_lost(const std::string& staged, const std::string& kept, const std::string& shown,
                      const InWindow& in_window);
  const Store& store_;
  const MasterTable& masters_;
  Log& log_;
  StrayMasters strays_;
};

}  // namespace vs::unify
