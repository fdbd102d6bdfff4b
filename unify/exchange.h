// The one step that changes a guest's tree: a name in the store's staging directory and a name in the guest change
// places, atomically, and what came out is looked at.
//
// Argument. renameat2(RENAME_EXCHANGE) leaves no moment without the name, no temporary name in the guest, and loses no inode: what the guest
// had is in staging, where only the host can reach it by name. Which inode that is cannot be told to the kernel beforehand, so it is looked at
// afterwards; if the guest had put something else there in between (new file, directory, device), it is exchanged back at once. A guest that
// replaces the name a second time within these microseconds gets its latest inode, found by what comes out of the next exchange. One that moved the name away
// meanwhile has moved our inode: it is searched in the same directory and exchanged there. What cannot be placed goes
// to the store's lost/ with a line that names it; it is never deleted.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"
#include "core/log.h"
#include "unify/store.h"

namespace vs::unify {

// A name in a guest, by its parent directory (O_PATH, opened beneath the guest's root).
struct GuestName {
  int dir = -1;
  std::string name;
  std::string shown;  // for messages: host path
};

enum class Exchange {
  done,      // the guest's name has new_ino, staging has old_ino
  put_back,  // something else was there; the guest has its own again, staging has new_ino
  lost,      // as put_back, but what the guest had could not be put back: it is in lost/, the message was logged
};

// `staged` in staging is new_ino. A Problem means that nothing was exchanged.
Expected<Exchange> exchange_names(const Store& store, const std::string& staged, const GuestName& name, uint64_t new_ino, uint64_t old_ino, Log& log);

// The guest's name has new_ino and staging what the guest shall get back. After this staging has new_ino (or nothing, when the
// guest removed it); the guest has what it should. Used for undoing a good exchange and by recovery.
Exchange put_back(const Store& store, const std::string& staged, const GuestName& name, uint64_t new_ino, Log& log);

// Moves a staging entry to lost/ under a name that tells when and whence.
void keep_as_lost(const Store& store, const std::string& staged, const std::string& shown, Log& log);

}  // namespace vs::unify
