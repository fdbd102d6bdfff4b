#include "unify/scan/file_table.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace vs {

FileRow row_of(const FileStat& stat) {
  FileRow row;
  row.ino = stat.ino;
  row.size = stat.size;
  row.mtime_ns = stat.mtime_ns;
  row.ctime_ns = stat.ctime_ns;
  row.btime_ns = stat.btime_ns;
  row.uid = stat.uid;
  row.gid = stat.gid;
  row.mode = stat.mode;
  row.nlink = stat.nlink;
  row.attributes = static_cast<uint32_t>(stat.attributes);
  return row;
}

bool same_identity(const FileRow& row, const FileStat& stat) {
  return row.ino == stat.ino && row.size == stat.size && row.mtime_ns == stat.mtime_ns &&
         row.ctime_ns == stat.ctime_ns && row.btime_ns == stat.btime_ns && row.uid == stat.uid &&
         row.gid == stat.gid && row.mode == stat.mode && row.nlink == stat.nlink;
}

uint32_t FileTable::intern(std::string_view text) {
  if (pool_.size() + text.size() + 1 > std::numeric_limits<uint32_t>::max())
    throw Error("more than 4 GiB of file names to consider in one run; restrict it to some guests");
  const auto offset = static_cast<uint32_t>(pool_.size());
  pool_.insert(pool_.end(), text.begin(), text.end());
  pool_.push_back('\0');
  return offset;
}

DirNumber FileTable::add_dir(GuestNumber guest, std::string_view path) {
  const DirNumber number = dirs_.next_number();
  dirs_.push_back({guest, intern(path)});
  return number;
}

void FileTable::add_row(FileRow row, DirNumber dir, std::string_view name) {
  row.dir = dir;
  row.name = intern(name);
  rows_.push_back(row);
}

void FileTable::sort() {
  std::vector<DirNumber> order(dirs_.size());
  std::iota(order.begin(), order.end(), DirNumber());
  std::sort(order.begin(), order.end(), [&](DirNumber a, DirNumber b) {
    return dirs_[a].guest != dirs_[b].guest ? dirs_[a].guest < dirs_[b].guest : dir_path(a) < dir_path(b);
  });
  TypedVector<DirNumber, DirRow> sorted;
  sorted.reserve(dirs_.size());
  TypedVector<DirNumber, DirNumber> rank(dirs_.size());
  for (const DirNumber old : order) {
    rank[old] = sorted.next_number();
    sorted.push_back(dirs_[old]);
  }
  dirs_ = std::move(sorted);
  for (auto& row : rows_) row.dir = rank[row.dir];
  std::sort(rows_.begin(), rows_.end(), [&](const FileRow& a, const FileRow& b) {
    return a.dir != b.dir ? a.dir < b.dir : name(a) < name(b);
  });
}

std::string FileTable::path(const FileRow& row) const {
  return join_path(dir_path(row.dir), name(row));
}

size_t FileTable::memory_bytes() const {
  return rows_.capacity() * sizeof(FileRow) + dirs_.capacity() * sizeof(DirRow) + pool_.capacity();
}

}  // namespace vs
