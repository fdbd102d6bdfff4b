// The inode numbers of a mount: one each for the root, the guests and their "latest", and a range for each
// state, in which StateIndex numbers. A number means the same for as long as the mount is there. Thread safe.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backup/source/digest.h"

namespace vs::backup {

class NodeNumbers {
 public:
  static constexpr uint64_t kRoot = 1;

  struct State {
    std::string guest, stamp;
  };
  struct Meaning {
    enum class Kind { root, guest, latest, state, nothing } kind = Kind::nothing;
    std::string guest;
    State state;          // of Kind::state ...
    uint64_t base = 0;    // ... the number of the root of its tree ...
    uint64_t within = 0;  // ... and the number in its StateIndex
  };

  uint64_t of_guest(const std::string& guest);
  uint64_t of_latest(const std::string& guest) { return of_guest(guest) + 1; }
  uint64_t of_state(const State& state);  // of the root of its tree
  Meaning meaning(uint64_t number) const;
  // Notes what the state is known by when it is first loaded, and says whether it is still that.
  bool is_the_same(uint64_t state, const Sha256& digest);

 private:
  struct Known {
    State state;
    std::optional<Sha256> digest{};
  };
  mutable std::mutex mutex_;
  std::vector<std::string> guests_;
  std::map<std::string, uint64_t> number_of_guest_;
  std::vector<Known> states_;
  std::map<std::pair<std::string, std::string>, uint64_t> number_of_state_;
};

}  // namespace vs::backup
