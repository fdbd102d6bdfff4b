// What was made and may be wanted again, up to a bound: what was not asked for longest goes first.
//
// Thread safe. What several threads ask for at the same time is made by one of them, and the others wait for
// it. A problem is told to all of these and not kept.
#pragma once

#include <cstddef>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <mutex>
#include <utility>

#include "core/error.h"

namespace vs::backup {

// Value: cheap to copy, a shared pointer mostly; who got one keeps it, whatever the cache does.
template <class Key, class Value>
class BoundedCache {
 public:
  struct Made {
    Value value;
    size_t weight = 1;
  };
  using Maker = std::function<Expected<Made>()>;

  // `most`: the sum of weights that is kept, the one asked for last in any case.
  explicit BoundedCache(size_t most) : most_(most) {}

  Expected<Value> get(const Key& key, const Maker& make) {
    std::promise<Expected<Value>> promise;
    {
      std::unique_lock lock(mutex_);
      if (const auto it = slots_.find(key); it != slots_.end()) {
        order_.splice(order_.begin(), order_, it->second.place);
        const auto value = it->second.value;
        lock.unlock();
        return value.get();
      }
      order_.push_front(key);
      slots_.emplace(key, Slot{promise.get_future().share(), order_.begin(), 0});
    }
    return fill(key, make, promise);
  }

 private:
  struct Slot {
    std::shared_future<Expected<Value>> value;
    typename std::list<Key>::iterator place;
    size_t weight;  // 0: it is being made
  };

  Expected<Value> fill(const Key& key, const Maker& make, std::promise<Expected<Value>>& promise) {
    try {
      Expected<Made> made = make();
      if (!made) {
        drop(key);
        promise.set_value(made.error());
        return made.error();
      }
      keep(key, made->weight);
      promise.set_value(made->value);
      return made->value;
    } catch (...) {
      drop(key);
      promise.set_exception(std::current_exception());
      throw;
    }
  }

  void keep(const Key& key, size_t weight) {
    const std::lock_guard lock(mutex_);
    Slot& slot = slots_.at(key);
    slot.weight = weight > 0 ? weight : 1;
    weight_ += slot.weight;
    order_.splice(order_.begin(), order_, slot.place);
    for (auto last = std::prev(order_.end()); weight_ > most_ && last != order_.begin();) {
      const auto it = slots_.find(*last--);
      if (it->second.weight == 0) continue;
      weight_ -= it->second.weight;
      order_.erase(it->second.place);
      slots_.erase(it);
    }
  }

  void drop(const Key& key) {
    const std::lock_guard lock(mutex_);
    const auto it = slots_.find(key);
    order_.erase(it->second.place);
    slots_.erase(it);
  }

  const size_t most_;
  std::mutex mutex_;
  size_t weight_ = 0;
  std::list<Key> order_;  // the one asked for last is the first
  std::map<Key, Slot> slots_;
};

}  // namespace vs::backup
