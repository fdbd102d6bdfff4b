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

uint32_t FileTable::add_dir(uint32_t guest, std::string_view path) {
  dirs_.push_back({guest, intern(path)});
  return static_cast<uint32_t>(dirs_.size() - 1);
}

void FileTable::add_row(FileRow row, uint32_t dir, std::string_view name) {
  row.dir = dir;
  row.name = intern(name);
  rows_.push_back(row);
}

void FileTable::sort() {
  std::vector<uint32_t> order(dirs_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return dirs_[a].guest != dirs_[b].guest ? dirs_[a].guest < dirs_[b].guest : dir_path(a) < dir_path(b);
  });
  std::vector<DirRow> sorted(dirs_.size());
  std::vector<uint32_t> rank(dirs_.size());
  for (uint32_t i = 0; i < order.size(); ++i) {
    sorted[i] = dirs_[order[i]];
    rank[order[i]] = i;
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
