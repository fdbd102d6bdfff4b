// Sharing of extents between files that stay what they are.
#pragma once

#include <cstdint>

#include "core/cancel.h"
#include "core/error.h"

namespace vs {

// Makes `target` use the extents of `source` for [offset, offset + length), if the bytes are equal: the
// kernel compares under both locks. Returns the bytes now shared; less than length when the contents differ
// from there on or the end is not block aligned. Neither file's times change. Both descriptors may be
// read-only for root. ECANCELED: stopped between two steps of some MiB; what was shared stays shared.
Expected<uint64_t> share_extents(int source, int target, uint64_t offset, uint64_t length,
                                 const Cancel* cancel = nullptr);

// Bytes on disk that no other file shares (FIEMAP), of a file open for reading: what is freed when it shares
// the extents of another. What was written and has no place on disk yet gets one before.
Expected<uint64_t> exclusive_bytes(int fd);

}  // namespace vs
