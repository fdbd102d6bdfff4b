// Sealing a shared file again after the moment in which it was unsealed, with the class that it had before.
//
// A lease keeps guests from writing in that moment, but not from changing owner, mode, times, attributes,
// inode flags or project. So these are compared behind the new seal; if one is another the file is unsealed
// once more, it is put back, and all begins anew. A guest that changes it again and again has to hit the
// microsecond between our last call and the seal each time: one thread loses within a few rounds. If a guest
// with many processors still wins after 500 ms, we stop and report it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/store/file_class.h"

namespace vs {

struct Seal {  // of one open file; both are idempotent
  std::function<Result()> set, lift;
};

// What a guest can set of a file that is not sealed, and the class does not have.
struct InodeMarks {
  uint32_t flags = 0;  // of kOtherFlags
  uint32_t project = 0;
  bool operator==(const InodeMarks&) const = default;
};
InodeMarks marks_of(int fd);

struct SealedState {
  FileClass file_class;
  std::vector<Xattr> xattrs;
  InodeMarks marks;
};

// `changed` is called each time that the state was another one. True: sealed, and as `state` says. False:
// sealed, but otherwise. A Problem: something was refused, and it may be unsealed. `fd` open for reading,
// `object` for messages.
Expected<bool> reseal(int fd, const SealedState& state, const std::string& object, const Seal& seal,
                      const std::function<void()>& changed);

}  // namespace vs
