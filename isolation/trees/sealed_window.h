// The moment in which a sealed file that several vservers share is unsealed, for one of its names to come or
// go.
//
// A sealed file has the immutable attribute, which forbids link(2) and unlink(2) with it. While it is off a
// lease keeps everybody from opening the file for writing: an open waits, and gets its descriptor when the
// seal is on again. A lease does not stop a guest that has a name of the file from changing its owner, mode,
// times or attributes: these are compared behind the new seal, and put back. Should this process be killed in
// that moment, the keeper, which shares the lease, seals the file.
#pragma once

#include <functional>
#include <string>

#include "core/error.h"
#include "core/store/seal_keeper.h"

namespace vs::isolation {

// Of an open regular file.
bool is_sealed(int fd);
// `keeper` was started. `change` returns 0 or an errno. `fd` is open for reading only; `shown` is for
// messages. Problem code EAGAIN: somebody has it open for writing; then nothing was done. One that is not
// shared (`change` takes its last name) is not sealed again.
Result in_unsealed_moment(SealKeeper& keeper, int fd, const std::string& shown,
                          const std::function<int()>& change);
// The kernel tells of an open that waits by SIGIO, whose default is to end the process: once before the
// above.
void expect_lease_signals();

}  // namespace vs::isolation
