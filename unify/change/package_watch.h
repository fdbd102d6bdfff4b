// Whether the package manager of a guest is at work, looked at once a second: a run takes longer than that,
// and one may begin in the midst of it.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>

#include "core/log.h"
#include "core/tree/inventory.h"

namespace vs::unify {

// May be used by several threads.
class PackageWatch {
 public:
  PackageWatch(Guests guests, Log& log) : guests_(guests), log_(log), seen_(guests.size()) {}
  bool at_work(GuestNumber guest);

 private:
  struct Seen {
    std::optional<std::chrono::steady_clock::time_point> at;
    bool at_work = false;
  };
  const Guests guests_;
  Log& log_;
  std::mutex mutex_;
  TypedVector<GuestNumber, Seen> seen_;
};

}  // namespace vs::unify
