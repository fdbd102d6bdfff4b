// The FS_*_FL attributes of an inode (chattr), by descriptor; never by path, which a guest could redirect.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"

namespace vs {

Expected<uint32_t> inode_flags(int fd, const std::string& object);
// Sets (or clears) `mask`; leaves the rest. One read and, if something changes, one write.
Result change_inode_flags(int fd, uint32_t mask, bool set, const std::string& object);

// What chattr can set but the seal: what a guest could change of a file that is not sealed.
extern const uint32_t kOtherFlags;

extern const uint32_t kImmutableFlag;
extern const uint32_t kSealFlags;  // immutable, append-only: what keeps names from coming and going

}  // namespace vs
