// Sealing a shared file again after the moment in which it was unsealed, with the class that it had before.
//
// A lease keeps guests from writing in that moment, but not from changing owner, mode, times or attributes.
// So the class is compared behind the new seal; if it is another one the file is unsealed once more, the
// class put back, and all begins anew. A guest that changes it again and again has to hit the microsecond
// between our last call and the seal each time: one thread loses within a few rounds. If a guest with many
// processors still wins after 500 ms, we stop and report it.
#pragma once

#include <functional>

#include "core/store/file_class.h"

namespace vs {

struct Seal {  // of one open file; both are idempotent
  std::function<Result()> set, lift;
};

// `changed` is called each time that the class was another one. True: sealed, and of this class. False:
// sealed, but of another class. A Problem: something was refused, and it may be unsealed. `fd` open for
// reading, `object` for messages.
Expected<bool> reseal(int fd, const FileClass& file_class, const std::vector<Xattr>& xattrs,
                      const std::string& object, const Seal& seal, const std::function<void()>& changed);

}  // namespace vs
