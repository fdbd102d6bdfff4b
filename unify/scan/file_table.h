// The names a scan kept, one row each, in few bytes: what later passes sort, group and act on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/tree/inventory.h"
#include "core/tree/root_dir.h"
#include "core/typed_number.h"

namespace vs {

using RowNumber = TypedNumber<struct RowTag>;
using DirNumber = TypedNumber<struct DirTag>;

// One name of a regular file. 72 bytes; the name itself lies in the table's pool.
struct FileRow {
  uint64_t ino = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  int64_t btime_ns = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t mode = 0;
  uint32_t nlink = 0;
  DirNumber dir;            // its directory in the table
  uint32_t name = 0;        // offset in the name pool
  uint32_t tag = 0;         // a number that the visitor attached: which package file, which master
  uint32_t attributes = 0;  // low 32 bits of STATX_ATTR_*
};

struct DirRow {
  GuestNumber guest;
  uint32_t path = 0;  // offset in the name pool; "" is the guest's root
};

FileRow row_of(const FileStat& stat);
// Nothing that a guest can do to the file leaves all of these as they were, but for what a reader must find
// out by itself: a write within the same clock tick as the stat.
bool same_identity(const FileRow& row, const FileStat& stat);

class FileTable {
 public:
  DirNumber add_dir(GuestNumber guest, std::string_view path);
  void add_row(FileRow row, DirNumber dir, std::string_view name);
  // Sorts directories by (guest, path) and rows by (directory, name): the same table whatever the number of
  // threads was.
  void sort();

  const TypedVector<RowNumber, FileRow>& rows() const { return rows_; }
  const TypedVector<DirNumber, DirRow>& dirs() const { return dirs_; }
  std::string_view dir_path(DirNumber dir) const { return pool_.data() + dirs_[dir].path; }
  std::string_view name(const FileRow& row) const { return pool_.data() + row.name; }
  GuestNumber guest(const FileRow& row) const { return dirs_[row.dir].guest; }
  std::string path(const FileRow& row) const;  // relative to the guest's root
  size_t memory_bytes() const;

 private:
  uint32_t intern(std::string_view text);
  TypedVector<RowNumber, FileRow> rows_;
  TypedVector<DirNumber, DirRow> dirs_;
  std::vector<char> pool_;
};

}  // namespace vs
