// One archive on its way: frames are appended under a temporary name, and it gets its own when it is whole
// and on the disk.
#pragma once

#include <string>
#include <vector>

#include "backup/archive/catalog.h"
#include "backup/archive/compressor.h"

namespace vs::backup {

class ArchiveWriter {
 public:
  // In the directory `dir`. `sidecar`: the catalog is also written beside it.
  ArchiveWriter(int dir, const std::string& shown_dir, const std::string& name, const std::string& run,
                bool sidecar);
  ~ArchiveWriter();  // removes what was not finished
  ArchiveWriter(const ArchiveWriter&) = delete;

  // Appends a frame that unpacks to `size` bytes.
  void add(const std::string& frame, uint64_t size);
  // The two empty blocks, the catalog, the seek table; then everything is synced and named. Throws, and
  // nothing has appeared, when that fails. EFBIG: nothing has appeared either, and the target is not to blame
  // (catalog_bytes).
  Result finish(const Catalog& catalog);
  uint64_t stored() const { return stored_; }
  uint64_t size() const { return size_; }  // what it unpacks to

 private:
  void write(const std::string& bytes);
  int dir_;
  std::string shown_, name_, part_, catalog_part_;
  bool sidecar_, finished_ = false;
  UniqueFd fd_;
  std::vector<Frame> frames_;
  uint64_t size_ = 0, stored_ = 0;
};

}  // namespace vs::backup
