#include "backup/mount/state_index.h"

#include <algorithm>

namespace vs::backup {

StateIndex::StateIndex(GuestState state) : state_(std::move(state)) {
  std::vector<Entry> entries;
  for (const auto& [path, text] : state_.dirs) {
    directories_.push_back({&path, &text, end_});
    if (!decode_dir(text, entries)) entries.resize(1);  // nonsense: what is asked of it is a problem
    for (size_t i = 1; i < entries.size(); ++i) count(entries[i], end_ + i);
    end_ += entries.size();
  }
}

void StateIndex::count(const Entry& entry, uint64_t number) {
  if (entry.pool == 0 && !entry.linked) return;
  Names& names = entry.pool != 0 ? members_[entry.pool] : groups_[entry.group];
  if (names.count++ == 0) names.number = number;
}

const StateIndex::Directory* StateIndex::find(std::string_view path) const {
  const auto it =
      std::lower_bound(directories_.begin(), directories_.end(), path,
                       [](const Directory& directory, std::string_view p) { return *directory.path < p; });
  return it != directories_.end() && *it->path == path ? &*it : nullptr;
}

const StateIndex::Directory* StateIndex::holder(uint64_t number) const {
  if (number >= end_) return nullptr;
  const auto after =
      std::upper_bound(directories_.begin(), directories_.end(), number,
                       [](uint64_t n, const Directory& directory) { return n < directory.number; });
  return &*std::prev(after);
}

StateIndex::Names StateIndex::names(const Directory& directory, size_t place, const Entry& entry) const {
  if (entry.pool != 0) return members_.at(entry.pool);
  if (entry.linked) return groups_.at(entry.group);
  return {directory.number + place, 1};
}

}  // namespace vs::backup
