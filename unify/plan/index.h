// What earlier runs learned, in LMDB below the state directory, host-only. Losing it costs time, never
// safety: masters are adopted again from the store, contents are read again. What it says of a master is put
// on masters and on the private copies of guests, so an entry in which a bit rotted is none
// (core/durable/lmdb_file.h). The first writer after a version without checksums takes its masters over, if
// they are what their names say, and forgets its contents.
//
// Threads: one Index, used by one thread at a time for writing; reads may come from several (each opens a
// read transaction).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/store/file_class.h"
#include "unify/packages/hasher.h"
#include "unify/scan/file_table.h"

namespace vs::unify {

// A shared inode of the store and what was proved about it when it was made.
struct MasterRecord {
  std::string name;  // in the store: "ab/<rest>"
  uint64_t ino = 0;
  uint64_t size = 0;
  FileClass file_class;
  std::vector<Xattr> xattrs;                   // all that it was made with
  std::string sha256;                          // raw, of the whole content
  Key128 content;                              // XXH3-128 of it; zero for a master adopted without a record
  std::vector<Key128> answers;                 // candidate keys this master is the content of
  std::string package, version, arch, source;  // under which package it was first shared
  bool retired = false;  // gets no new names: link count full, or somebody tried to write to it
};

// What is known of a guest's own file whose identity has not changed since.
struct KnownContent {
  Key128 content;
  uint64_t xattrs = 0;
  bool pristine = true;      // equal to what its package database recorded then
  Key128 recorded;           // candidate key it was proved (or refuted) for
  uint64_t shared_with = 0;  // reflink guard: extents already shared, id of the sharing group; 0 = not
};

class Index {
 public:
  // `dir` is created 0700 if missing (unless read_only, then a missing index is empty). A damaged one is told
  // to `damaged`, set aside and begun anew; without it, an Error. Throws Error.
  Index(const std::string& dir, bool read_only,
        const std::function<void(const std::string& message)>& damaged = {});
  ~Index();

  std::vector<MasterRecord> masters(const std::string& store_id) const;
  void put_masters(const std::string& store_id, const std::vector<MasterRecord>& records);
  void erase_masters(const std::string& store_id, const std::vector<uint64_t>& inos);

  // Known only if identity (dev, ino, birth time, size, mtime, ctime) is what it was.
  std::optional<KnownContent> known(uint64_t dev, const FileRow& row) const;
  struct Learned {
    uint64_t dev = 0;
    FileRow row;
    KnownContent content;
  };
  void learn(const std::vector<Learned>& contents);
  size_t contents() const;  // how many are known, of all devices
  // Forgets the contents of this device but of these inodes (any order). Returns how many.
  size_t forget_others(uint64_t dev, std::vector<uint64_t> inos);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A change may hide behind an equal ctime only within one clock tick of the kernel (4 to 10 ms); seconds
// leave room for a filesystem with coarser times.
inline constexpr int64_t kRacyNs = 2'000'000'000;

}  // namespace vs::unify
