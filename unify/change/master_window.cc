#include "unify/change/master_window.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "core/store/reseal.h"

namespace vs::unify {
namespace {

// After lease-break-time the kernel ends a lease that somebody waits for, whether its holder agrees or not.
// Half of it is left for what is done under the lease. 0 when unknown.
std::chrono::milliseconds sure_of_lease() {
  std::ifstream in("/proc/sys/fs/lease-break-time");
  long seconds = 0;
  in >> seconds;
  return std::chrono::milliseconds(std::max(0L, seconds) * 500);
}

}  // namespace

MasterWindow::~MasterWindow() {
  close();
}

Result MasterWindow::open() {
  leased_at_ = std::chrono::steady_clock::now();
  auto lease = Lease::take(master_.fd.get(), master_.shown);
  if (!lease) return lease.error();
  lease_ = std::move(*lease);
  if (guard_.needs_window()) {
    if (auto unsealed = guard_.unseal(master_.fd.get(), master_.shown); !unsealed) return unsealed;
  }
  unsealed_ = true;
  return Ok{};
}

Result MasterWindow::unseal_again() {
  if (unsealed_) return Ok{};
  if (!lease_.unbroken() && std::chrono::steady_clock::now() - leased_at_ >= sure_of_lease())
    return Problem{EAGAIN, "unseal master " + master_.shown + " again: somebody has it open for writing"};
  if (guard_.needs_window()) {
    if (auto unsealed = guard_.unseal(master_.fd.get(), master_.shown); !unsealed) return unsealed;
  }
  unsealed_ = true;
  return Ok{};
}

void MasterWindow::seal_with_its_class() {
  const Seal seal{[this] { return guard_.seal(master_.fd.get(), master_.shown); },
                  [this] {
                    return guard_.needs_window() ? guard_.unseal(master_.fd.get(), master_.shown)
                                                 : Result(Ok{});
                  }};
  const auto changed = [this] {
    if (std::exchange(told_of_class_, true)) return;
    ++counts_.classes_restored;
    log_.warning("a guest changed owner, mode, time or attributes of master " + master_.shown +
                 " in its unsealed moment; putting them back");
  };
  const auto right = reseal(master_.fd.get(), master_.record.file_class, master_.record.xattrs, master_.shown,
                            seal, changed);
  if (right && *right) return;
  if (!right) log_.object_failed(right.error().message);
  const auto sealed = right ? Result(Ok{}) : seal.set();
  verdict_ = std::max(verdict_, sealed ? Verdict::tainted : Verdict::unsealed);
  if (!sealed) return log_.object_failed(sealed.error().message);
  log_.object_failed("owner, mode, time or attributes of master " + master_.shown +
                     " could not be made what they were (a guest may keep changing them); every name of it "
                     "gets a private copy");
}

void MasterWindow::judge_content() {
  if (lease_.unbroken()) return;
  if (!std::exchange(told_of_lease_, true)) ++counts_.leases_broken;
  const auto digests = digest_file(master_.fd.get(), DigestAlgorithm::none, master_.shown);
  verdict_ = std::max(
      verdict_, digests && digests->sha256 == master_.record.sha256 ? Verdict::retire : Verdict::tainted);
}

MasterWindow::Verdict MasterWindow::seal() {
  if (!std::exchange(unsealed_, false)) return verdict_;
  seal_with_its_class();
  judge_content();
  return verdict_;
}

MasterWindow::Verdict MasterWindow::close() {
  seal();
  lease_.release();
  return verdict_;
}

}  // namespace vs::unify
