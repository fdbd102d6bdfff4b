#include "backup/mount/node_numbers.h"

namespace vs::backup {
namespace {

// Names that one state can have; states and guests have what is left of 64 bits.
constexpr unsigned kStateBits = 40;

}  // namespace

uint64_t NodeNumbers::of_guest(const std::string& guest) {
  const std::lock_guard lock(mutex_);
  const auto [it, fresh] = number_of_guest_.emplace(guest, 2 * (guests_.size() + 1));
  if (fresh) guests_.push_back(guest);
  return it->second;
}

uint64_t NodeNumbers::of_state(const State& state) {
  const std::lock_guard lock(mutex_);
  const auto [it, fresh] =
      number_of_state_.emplace(std::pair(state.guest, state.stamp), (states_.size() + 1) << kStateBits);
  if (fresh) states_.push_back({state});
  return it->second;
}

NodeNumbers::Meaning NodeNumbers::meaning(uint64_t number) const {
  const std::lock_guard lock(mutex_);
  const uint64_t state = number >> kStateBits;
  if (number == kRoot) return {Meaning::Kind::root, {}, {}};
  if (state > states_.size()) return {};
  if (state > 0) {
    const State& known = states_[state - 1].state;
    const uint64_t base = state << kStateBits;
    return {Meaning::Kind::state, known.guest, known, base, number - base};
  }
  const uint64_t guest = number / 2 - 1;
  if (number < 2 || guest >= guests_.size()) return {};
  return {number % 2 == 0 ? Meaning::Kind::guest : Meaning::Kind::latest, guests_[guest], {}};
}

bool NodeNumbers::is_the_same(uint64_t state, const Sha256& digest) {
  const std::lock_guard lock(mutex_);
  auto& known = states_.at((state >> kStateBits) - 1).digest;
  if (!known) known = digest;
  return *known == digest;
}

}  // namespace vs::backup
