#include "core/store/lease.h"

#include <fcntl.h>

#include <cerrno>
#include <csignal>
#include <utility>

namespace vs {
namespace {

// EINVAL is the answer of a filesystem that gives no leases. The code says so; the message is the system's.
Problem not_given(const std::string& object) {
  const bool none_here = errno == EINVAL;
  Problem problem = problem_from_errno("take a lease on", object);
  if (none_here) problem.code = EOPNOTSUPP;
  return problem;
}

}  // namespace

Expected<Lease> Lease::take(int fd, const std::string& object) {
  if (::fcntl(fd, F_SETLEASE, F_RDLCK) != 0) return not_given(object);
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

Expected<bool> Lease::nobody_else(const std::string& object) {
  if (!unbroken()) return false;
  if (::fcntl(fd_, F_SETLEASE, F_WRLCK) != 0)
    return errno == EAGAIN ? Expected<bool>(false) : Expected<bool>(not_given(object));
  if (::fcntl(fd_, F_SETLEASE, F_RDLCK) == 0) return true;
  const Problem problem = not_given(object);
  release();
  return problem;
}

void Lease::release() {
  if (fd_ >= 0) ::fcntl(fd_, F_SETLEASE, F_UNLCK);
  fd_ = -1;
}

void expect_lease_signals() {
  ::signal(SIGIO, SIG_IGN);
}

}  // namespace vs
