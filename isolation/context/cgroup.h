// The cgroup of one guest: what it may use, its death as a whole, its stillness, and where the programs of
// its addresses hang.
//
// HIERARCHY/vservers/NAME holds limits and programs; the processes live in NAME/guest below it, which is the
// root of their cgroup namespace, so nothing they can reach has the limits. On hybrid hosts controllers that
// are mounted as version 1 have vservers/NAME there too, if a limit needs them.
//
// Read and written as plain files: libcgroup knows neither hybrid hosts nor cgroup.kill.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/cgroup_freeze.h"
#include "core/error.h"
#include "core/unique_fd.h"

namespace vs::isolation {

struct Limits {
  uint64_t memory = 0;  // bytes; 0: no limit, here and below
  uint64_t cpu = 0;     // percent of one processor
  uint64_t pids = 0;
  bool share = false;  // of the processor together one share among the others, however many its processes are
  bool any() const { return memory != 0 || cpu != 0 || pids != 0 || share; }
};

class Cgroups {
 public:
  // Finds the hierarchies that are mounted. Throws Error where no version 2 is mounted: nothing here works
  // without.
  Cgroups();
  std::string path(const std::string& name) const { return v2_ + kGuestCgroups + "/" + name; }

  Result make(const std::string& name, const Limits& limits) const;
  Expected<UniqueFd> open(const std::string& name) const;            // where programs are attached
  Expected<UniqueFd> open_processes(const std::string& name) const;  // for CLONE_INTO_CGROUP
  // NAME/guest to another user, who may then make groups below it.
  Result give_processes(const std::string& name, uint32_t owner) const;
  // Moves this process: into version 1 controllers that `name` has, and, with `v2`, into NAME/guest.
  Result enter(const std::string& name, bool v2) const;
  // For a process that enters where the hierarchies are out of sight: "0" written to each moves it there.
  // Those of version 1; the fd of open_processes() does for version 2.
  std::vector<UniqueFd> open_v1_processes(const std::string& name) const;
  bool exists(const std::string& name) const;
  bool populated(const std::string& name) const;
  uint64_t processes(const std::string& name) const;
  uint64_t memory_used(const std::string& name) const;  // bytes; 0 where not known
  uint64_t cpu_used_us(const std::string& name) const;
  // SIGKILL to all, also those just forked. Returns when they are gone; waits at most five seconds.
  Result kill(const std::string& name) const;
  // Returns when all stand still (or run again). Waits at most five seconds.
  Result freeze(const std::string& name, bool frozen) const;
  bool frozen(const std::string& name) const;
  // With all that the guest made below. Waits up to two seconds for the last process to be gone.
  Result remove(const std::string& name) const;
  // Removes those of finished chbind and chcontext: nobody stays to do it when they end.
  void sweep(const std::string& prefix) const;

 private:
  std::string v2_;
  std::map<std::string, std::string> v1_;  // controller -> mount point
};

}  // namespace vs::isolation
