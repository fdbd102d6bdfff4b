// The package headers in a Packages.db, rpm's "ndb" database (openSUSE, SLES).
//
// Debian's librpm is built without ndb, so its file is read here; the headers in it are still given to
// librpm. Runs in the sandboxed child, and is fuzzed all the same.
//
//   file   := header[32] slot[16]* blobs          little endian, positions in blocks of 16 bytes
//   header := "RpmP" u32 version(0) u32 generation u32 pages of slots (4096 bytes each) u32 next package ...
//   slot   := "Slot" u32 package u32 first block (0: free) u32 blocks
//   blob   := "BlbS" u32 package u32 time u32 length, the bytes, zeros to the block's end less 12,
//             u32 adler32 of all before, u32 length, "BlbE"
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace vs::unify {

struct NdbContent {
  std::vector<std::string_view> headers;  // parts of the file, as their slots come
  std::vector<std::string> troubles;      // what was left out and why
  bool usable = false;                    // the file's frame is right; else `troubles` says what is wrong
};

NdbContent parse_ndb(std::string_view file);

}  // namespace vs::unify
