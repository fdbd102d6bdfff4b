// The moment in which a master is unsealed to gain or lose names.
//
// Argument. Before it is unsealed a lease is taken, so no descriptor for writing exists and none can come to be: an open for writing waits or
// fails while the lease is held, and one that waited gets its descriptor when the master is sealed again, where the filesystem refuses
// writes through it (the guard's probe proved that it does). If this process dies, the seal keeper holds the same lease and seals. A lease does not stop
// chmod, chown, utimes or setxattr by a guest that has a name of it: close() compares the whole class after sealing and puts
// back what changed.
#pragma once

#include <atomic>

#include "core/run_context.h"
#include "unify/guard.h"
#include "unify/lease.h"
#include "unify/master_maker.h"

namespace vs::unify {

struct WindowCounts {
  std::atomic<uint64_t> classes_restored{0};  // a guest changed mode, owner, times or attributes in the window
  std::atomic<uint64_t> leases_broken{0};     // a guest tried to open a master for writing in the window
};

class MasterWindow {
 public:
  // `master` must outlive the window.
  MasterWindow(const Guard& guard, OpenMaster& master, WindowCounts& counts, Log& log)
      : guard_(guard), master_(master), counts_(counts), log_(log) {}
  ~MasterWindow();
  MasterWindow(const MasterWindow&) = delete;
  MasterWindow& operator=(const MasterWindow&) = delete;
  Result open();
  enum class Verdict {
    intact,
    retire,    // intact, but somebody waits with an open for writing: no new names for it
    tainted,   // its content is not what it was: names given in this window must be taken back
  };
  Verdict close();

 private:
  bool restore_class_if_changed();
  const Guard& guard_;
  OpenMaster& master_;
  WindowCounts& counts_;
  Log& log_;
  Lease lease_;
  bool open_ = false;
};

}  // namespace vs::unify
