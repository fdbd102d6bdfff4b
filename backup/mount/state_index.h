// One state with a number for each of its objects, and how many names each has.
//
// Numbers are positions: directories in the order of their paths, and in each the directory itself and then
// its names. A state is loaded, forgotten and loaded again while somebody holds one of its files, so the same
// texts must give the same numbers. Names that are one inode have the number of the first of them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "backup/archive/archive_set.h"

namespace vs::backup {

class StateIndex {
 public:
  struct Directory {
    const std::string* path;  // "" the root
    const std::string* text;  // encoded (catalog.h)
    uint64_t number;          // its own; those of what it lists follow
  };
  struct Names {
    uint64_t number = 0;
    uint32_t count = 0;
  };

  explicit StateIndex(GuestState state);
  StateIndex(const StateIndex&) = delete;

  const GuestState& state() const { return state_; }
  const Directory* find(std::string_view path) const;  // nullptr: there is none
  // The directory that is this object or lists it; nullptr for a number that no object has.
  const Directory* holder(uint64_t number) const;
  // Of the entry at this place (1 the first name) of the directory.
  Names names(const Directory& directory, size_t place, const Entry& entry) const;

 private:
  void count(const Entry& entry, uint64_t number);

  GuestState state_;
  std::vector<Directory> directories_;  // by path, and so by number
  uint64_t end_ = 0;
  std::unordered_map<uint64_t, Names> groups_, members_;  // by link group; by number of the pool member
};

}  // namespace vs::backup
