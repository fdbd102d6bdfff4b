// The moment in which a master is unsealed to gain or lose names.
//
// Argument. Before it is unsealed a lease is taken, so no descriptor for writing exists and none can come to
// be: an open for writing waits or fails while the lease is held, and one that waited gets its descriptor
// when the master is sealed again, where the filesystem refuses writes through it (the guard's probe proved
// that it does). If this process dies, the seal keeper holds the same lease and seals. A lease does not stop
// chmod, chown, utimes or setxattr by a guest that has a name of it: seal() compares the whole class after
// sealing and puts back what changed, again and again. A guest with many processors may win even that; then
// the master is sealed as it is and the verdict is `tainted`: whoever opened the window retires it, and every
// name of it gets a private copy instead (release_spoiled in release.h).
//
// The lease outlives the seal, until close(): so a master can be unsealed a second time to take names back,
// also while somebody waits with an open for writing.
#pragma once

#include <atomic>
#include <chrono>

#include "core/run_context.h"
#include "core/store/guard.h"
#include "core/store/lease.h"
#include "core/store/store.h"
#include "unify/change/master_maker.h"

namespace vs::unify {

struct WindowCounts {
  std::atomic<uint64_t> classes_restored{
      0};                                  // a guest changed mode, owner, times or attributes in the window
  std::atomic<uint64_t> leases_broken{0};  // a guest tried to open a master for writing in the window
};

class MasterWindow {
 public:
  // `master` must stay where it is as long as the window exists.
  MasterWindow(const Guard& guard, OpenMaster& master, WindowCounts& counts, Log& log)
      : guard_(guard), master_(master), counts_(counts), log_(log) {}
  ~MasterWindow();
  MasterWindow(const MasterWindow&) = delete;
  MasterWindow& operator=(const MasterWindow&) = delete;
  Result open();
  enum class Verdict {  // of all that happened since open(), the worst
    intact,
    retire,    // intact, but somebody waits with an open for writing: no new names for it
    tainted,   // its content or class is not what it was: names given in this window must be taken back
    unsealed,  // tainted, and the filesystem would not seal it: the batch stays in the journal, for recovery
               // to seal it
  };
  Verdict seal();
  // After seal(), under the same lease. A Problem (EAGAIN) when the kernel may have ended the lease for who
  // waits.
  Result unseal_again();
  // seal(), and the end of the lease.
  Verdict close();

 private:
  void seal_with_its_class();
  void judge_content();
  const Guard& guard_;
  OpenMaster& master_;
  WindowCounts& counts_;
  Log& log_;
  Lease lease_;
  std::chrono::steady_clock::time_point leased_at_;
  bool unsealed_ = false;
  bool told_of_class_ = false, told_of_lease_ = false;
  Verdict verdict_ = Verdict::intact;
};

}  // namespace vs::unify
