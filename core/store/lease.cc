#include "core/store/lease.h"

#include <fcntl.h>

#include <cerrno>
#include <csignal>
#include <utility>

namespace vs {

Expected<Lease> Lease::take(int fd, const std::string& object) {
  if (::fcntl(fd, F_SETLEASE, F_RDLCK) != 0) {
    // EINVAL is the answer of a filesystem that gives no leases. The code says so; the message is the
    // system's.
    const bool none_here = errno == EINVAL;
    Problem problem = problem_from_errno("take a lease on", object);
    if (none_here) problem.code = EOPNOTSUPP;
    return problem;
  }
  Lease lease;
  lease.fd_ = fd;
  return lease;
}

Lease::Lease(Lease&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    release();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

Lease::~Lease() {
  release();
}

bool Lease::unbroken() const {
  return fd_ >= 0 && ::fcntl(fd_, F_GETLEASE) == F_RDLCK;
}

bool Lease::nobody_else() const {
  if (!unbroken() || ::fcntl(fd_, F_SETLEASE, F_WRLCK) != 0) return false;
  return ::fcntl(fd_, F_SETLEASE, F_RDLCK) == 0;
}

void Lease::release() {
  if (fd_ >= 0) ::fcntl(fd_, F_SETLEASE, F_UNLCK);
  fd_ = -1;
}

void expect_lease_signals() {
  ::signal(SIGIO, SIG_IGN);
}

}  // namespace vs
