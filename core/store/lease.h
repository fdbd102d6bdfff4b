// A read lease: proof that nobody has the file open for writing or mapped writable, and notice if somebody
// tries.
//
// fcntl(F_SETLEASE, F_RDLCK) fails with EAGAIN while a writer exists. While held, an open for writing waits
// (up to /proc/sys/fs/lease-break-time, 45 s) or gets EWOULDBLOCK, and the lease then reads as broken.
// Measured on ext4, xfs and btrfs: chmod, chown, utimes, setxattr, link and unlink are not stopped; who holds
// a lease must compare the class itself. The kernel announces a break with SIGIO, which
// install_signal_handlers() ignores.
#pragma once

#include <string>

#include "core/error.h"

namespace vs {

class Lease {
 public:
  // `fd` open for reading only, not owned, must outlive the lease. Problem code EAGAIN: a writer exists.
  // EOPNOTSUPP: this filesystem, or this kind of file, has no leases.
  static Expected<Lease> take(int fd, const std::string& object);
  Lease() = default;
  Lease(Lease&& other) noexcept;
  Lease& operator=(Lease&& other) noexcept;
  ~Lease();
  // True as long as nobody has tried to open the file for writing.
  bool unbroken() const;
  // Whether at this moment nobody else has the file open in any way: nobody reads it, runs it or has mapped
  // it. The lease is a write lease for that moment, which the kernel grants only then; an open in these
  // microseconds waits.
  // False as well when the lease is broken. Problem: the kernel could not say, or did not give the read lease
  // back, so that this is none any more: code EAGAIN when somebody opened the file for writing in that
  // moment.
  Expected<bool> nobody_else(const std::string& object);
  void release();

 private:
  int fd_ = -1;
};

// The kernel tells of an open that waits for the end of a lease by SIGIO, whose default is to end the
// process. Once, before the first lease, in a program that does not call install_signal_handlers().
void expect_lease_signals();

}  // namespace vs
