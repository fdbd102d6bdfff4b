// Masters of vunify's store that a restored guest may be linked to, so that it costs no more disk than
// before.
//
// A master is taken when size, class, attributes and digest of its bytes, read now, are what the archive has.
// It gets its new names in an unsealed window (core/store/unsealed_window.h), like those that vunify gives: a
// seal keeper seals it if we are killed, a class that a guest changed meanwhile is put back, and if that
// fails, or its content is not what it was, the new names are taken back. Then the restored guest gets a file
// of its own. The lock of the store is held, so that no run of vunify has windows open at the same time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "backup/archive/catalog.h"
#include "core/cancel.h"
#include "core/durable/host_lock.h"
#include "core/log.h"
#include "core/store/store.h"
#include "core/store/unsealed_window.h"

namespace vs::backup {

class LiveMasters {
 public:
  // Throws Error(Exit::usage) for what is no store. `guard` seals its masters. Once `cancel` asks to stop, no
  // master is found any more; what is under way while one is unsealed comes to its end.
  LiveMasters(const std::string& store, std::unique_ptr<Guard> guard, const Cancel& cancel, Log& log);
  // Calls `link` with a descriptor of the master, unsealed, if there is one for this object, and `unlink` to
  // take back the names that `link` made if a guest has spoiled the master meanwhile (which is logged). True:
  // the names that were made stay. False: there is no such master, or nothing is left of the attempt. A
  // Problem: names of a spoiled master could not be taken back.
  Expected<bool> link_to(const Entry& object, const std::function<uint64_t(int fd)>& link,
                         const std::function<Result()>& unlink);

 private:
  using BySizeAndTime = std::multimap<std::pair<uint64_t, int64_t>, std::string>;
  Expected<bool> link_in_window(const std::string& name, const Entry& object, bool& retired,
                                const std::function<uint64_t(int fd)>& link,
                                const std::function<Result()>& unlink);
  SealKeeper keeper_;  // started first: it must not inherit the lock
  const std::unique_ptr<Guard> guard_;
  const Cancel& cancel_;
  Log& log_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<HostLock> lock_;
  WindowCounts counts_;
  BySizeAndTime by_size_and_time_;
};

}  // namespace vs::backup
