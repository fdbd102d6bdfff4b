#include "unify/master_window.h"

#include <fmt/format.h>

namespace vs::unify {

MasterWindow::~MasterWindow() {
  if (open_) close();
}

Result MasterWindow::open() {
  auto lease = Lease::take(master_.fd.get(), master_.record.name);
  if (!lease) return lease.error();
  lease_ = std::move(*lease);
  if (guard_.needs_window()) {
    if (auto unsealed = guard_.unseal(master_.fd.get(), master_.record.name); !unsealed) return unsealed;
  }
  open_ = true;
  return Ok{};
}

// True when the class is as it should be, maybe again.
bool MasterWindow::restore_class_if_changed() {
  const auto stat = stat_fd(master_.fd.get(), master_.record.name);
  const auto xattrs = xattr_hash_of(master_.fd.get(), master_.record.name);
  if (stat && xattrs && class_of(*stat, *xattrs) == master_.record.file_class) return true;
  ++counts_.classes_restored;
  log_.warning("a guest changed owner, mode, time or attributes of master " + master_.record.name + " in its unsealed moment; putting them back");
  if (guard_.needs_window()) (void)guard_.unseal(master_.fd.get(), master_.record.name);
  const auto restored = restore_class(master_.fd.get(), master_.record.file_class, master_.record.xattrs, master_.record.name);
  if (!restored) log_.object_failed(restored.error().message);
  return false;
}

MasterWindow::Verdict MasterWindow::close() {
  if (!open_) return Verdict::intact;
  open_ = false;
  bool right = false;
  // A guest that changes it again and again loses: each round is shorter than its next system call is sure to be in.
  for (int round = 0; round < 8 && !right; ++round) {
    if (auto sealed = guard_.seal(master_.fd.get(), master_.record.name); !sealed) log_.object_failed(sealed.error().message);
    right = restore_class_if_changed();
  }
  if (!right) {
    (void)guard_.seal(master_.fd.get(), master_.record.name);
    log_.object_failed("the class of master " + master_.record.name + " could not be restored; run vunify check");
  }
  const bool unbroken = lease_.unbroken();
  lease_.release();
  if (unbroken) return Verdict::intact;
  ++counts_.leases_broken;
  const auto digests = digest_file(master_.fd.get(), DigestAlgorithm::none, master_.record.name);
  return digests && digests->sha256 == master_.record.sha256 ? Verdict::retire : Verdict::tainted;
}

}  // namespace vs::unify
