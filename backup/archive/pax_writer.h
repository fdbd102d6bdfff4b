// One tar entry as text: a ustar header, with pax records in front for what ustar cannot say. Plain
// functions, any thread.
//
// libarchive reads our archives but does not write them: it has no way to emit GNU.dumpdir, insists on one
// writer for one file where we have a worker for each frame, and hides where an entry begins, which is what
// the catalog needs to know. POSIX.1-2001 pax, star's SCHILY.xattr and SCHILY.acl records, GNU's sparse
// format 1.0; what stock tools know, and nothing of our own, because GNU tar warns of every unknown record.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vs::backup {

struct TarEntry {
  std::string path;  // directories without a slash at the end
  char type = 'f';   // f d l p c b, h: a hard link to `link`
  std::string link;  // target of a hard link or symlink
  uint32_t mode = 0, uid = 0, gid = 0;
  uint64_t size = 0;  // of a file
  int64_t mtime_ns = 0;
  uint64_t rdev = 0;
  std::string_view xattrs;  // encoded (inode_details.h)
  std::string dumpdir;      // of a directory in an incremental; "" none
  // Data ranges (offset, length) of a file with holes, in order; empty for a file without, or one that is a
  // single hole (then `sparse`).
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  bool sparse = false;
};

// Appends headers, and for a sparse file the map, to `out`; returns how many bytes of data and padding must
// follow: the data's size.
uint64_t append_header(std::string& out, const TarEntry& entry);
void append_padding(std::string& out, uint64_t data_size);
// The two empty blocks that end an archive.
void append_end(std::string& out);

// system.posix_acl_* as the text form that GNU tar and bsdtar read; "" for what is none.
std::string acl_text(std::string_view value);

}  // namespace vs::backup
