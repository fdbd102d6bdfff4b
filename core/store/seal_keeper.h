// A small process that seals shared files (masters) again when this one dies.
//
// Under the immutable guard a master must be unsealed for the moment in which it gains or loses names: in
// unify, and where the runtime removes a tree. A lease held over that moment keeps guests from opening it for
// writing, but both would end with a kill -9 of this process. So before masters are unsealed their
// descriptors are handed to a child: it shares the open file descriptions, hence the leases, and on end of
// file on its socket (we died, or are done) it seals everything it still holds and exits. It runs nothing but
// system calls, in its own session so that a signal to our process group does not reach it. What is left
// without a seal is only a crash of the whole machine, and then no guest runs before recovery did
// (packaging/systemd orders it so).
#pragma once

#include <span>

#include "core/error.h"
#include "core/unique_fd.h"

namespace vs {

class SealKeeper {
 public:
  SealKeeper() = default;
  ~SealKeeper();
  SealKeeper(const SealKeeper&) = delete;
  SealKeeper& operator=(const SealKeeper&) = delete;
  Result start();  // forks; call before descriptors that must close with us are opened
  // The child has them when this returns.
  Result hand_over(std::span<const int> fds);
  // All of them are sealed: the child closes its copies.
  Result forget();

 private:
  Result await_answer();
  UniqueFd socket_;
  int child_ = -1;
};

}  // namespace vs
