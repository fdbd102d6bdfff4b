// What the two kinds of archive targets have in common: items become tar entries, frames are appended, and
// what was placed where is recorded in a catalog.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "backup/archive/archive_writer.h"
#include "backup/archive/pool_members.h"
#include "backup/archive/target.h"
#include "core/typed_number.h"

namespace vs::backup {

inline constexpr uint64_t kNowhere = ~uint64_t{0};

// The header that all archives of a run begin with; chain and number are those of a full.
CatalogHeader header_of(const RunView& run, const std::string& kind, const std::string& set);

// Appends the tar entry of an item: a hard link for a link or a name, else the object itself as `entry` says
// it is. The data of a large file follows, part by part.
void append_item(const RunView& run, const PoolMembers& members, const Item& item, const Entry& entry,
                 const Content& content, std::string& out);

// Where this run's objects are in its archives. The sink's.
class StoredObjects {
 public:
  explicit StoredObjects(size_t inodes) : offset_(inodes, kNowhere) {}
  // Appends the frame and notes where its objects are.
  void append(ArchiveWriter& writer, const std::vector<Item>& items, const Encoded& encoded);
  // Records the shared objects among the items that are placed and whole as members of pool archive
  // `archive`.
  void record_members(const RunView& run, const PoolMembers& members, const std::vector<Item>& items,
                      uint32_t archive, std::map<uint64_t, Entry>& pool) const;
  uint64_t offset(InodeNumber inode) const {
    return inode < offset_.next_number() ? offset_[inode] : kNowhere;
  }
  Target::Counts counts;

 private:
  TypedVector<InodeNumber, uint64_t> offset_;
};

using Dirs = std::map<std::string, std::string>;  // path -> encoded directory (catalog.h)

// One guest as it is now, directory by directory. What was stored in this run is in archive `number` of its
// chain; what is as before keeps the place where it is stored. Directories whose text is another than in
// `previous` go into `dirs`, and the header counts all.
struct GuestRecord {
  const RunView& run;
  PoolMembers& members;
  const StoredObjects& stored;
  GuestNumber guest;
  uint32_t number = 0;  // of the archive
  const Dirs& previous;
};
void record_guest(const GuestRecord& record, Dirs& dirs, CatalogHeader& header);

// The entry of this name in an encoded directory; nullptr if it has none.
const Entry* find_name(const std::vector<Entry>& entries, std::string_view name);

}  // namespace vs::backup
