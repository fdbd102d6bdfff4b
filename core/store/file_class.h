// What a hard link shares besides the bytes: two files may become one inode only when all of this is equal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tree/root_dir.h"

namespace vs {

struct Xattr {
  std::string name;
  std::string value;
  bool operator==(const Xattr&) const = default;
};

struct FileClass {
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t mode = 0;
  int64_t mtime_ns = 0;
  // xattr_hash(); 0 when there are none. It finds what may be equal and proves nothing: anybody can make
  // attributes that have the hash of others. Where two files become one, or one shall be what it was,
  // has_class() compares the attributes.
  uint64_t xattrs = 0;
  bool operator==(const FileClass&) const = default;
};

// All extended attributes (ACLs are such) of an open file, sorted by name; none where the filesystem has no
// such thing. `fd` may be O_PATH.
Expected<std::vector<Xattr>> read_xattrs(int fd, const std::string& object);
uint64_t xattr_hash(const std::vector<Xattr>& xattrs);
bool has_file_capability(const std::vector<Xattr>& xattrs);
// read_xattrs and xattr_hash in one; the common case, none, is one system call.
Expected<uint64_t> xattr_hash_of(int fd, const std::string& object);

FileClass class_of(const FileStat& stat, uint64_t xattrs);
// Whether the open file is of this class and has exactly these attributes. `stat` is its own.
Expected<bool> has_class(int fd, const FileStat& stat, const FileClass& file_class,
                         const std::vector<Xattr>& xattrs, const std::string& object);
// Makes an open file (ours, not yet seen by any guest) of this class; an ACL that it has of its directory
// goes. mtime last, because the others move ctime only.
Result give_class(int fd, const FileClass& file_class, const std::vector<Xattr>& xattrs,
                  const std::string& object);
// Puts back what differs of mode, owner, mtime, xattrs; for a master whose class a guest changed in an
// unsealed window.
Result restore_class(int fd, const FileClass& file_class, const std::vector<Xattr>& xattrs,
                     const std::string& object);

}  // namespace vs
