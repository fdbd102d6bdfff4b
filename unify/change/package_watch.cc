#include "unify/change/package_watch.h"

#include "unify/packages/package_work.h"
#include "unify/plan/eligibility.h"

namespace vs::unify {
namespace {

constexpr auto kLookAgain = std::chrono::seconds(1);

}  // namespace

bool PackageWatch::at_work(GuestNumber guest) {
  const std::lock_guard lock(mutex_);
  Seen& seen = seen_[guest];
  const auto now = std::chrono::steady_clock::now();
  if (seen.at && now - *seen.at < kLookAgain) return seen.at_work;
  const auto work = package_work(guests_[guest].root);
  if (work) log_.remember_first(reason_name(Reason::package_work), guests_[guest].name + ": " + *work);
  seen = {now, work.has_value()};
  return seen.at_work;
}

}  // namespace vs::unify
