#include "backup/mount/bounded_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace vs::backup {
namespace {

using Cache = BoundedCache<int, std::string>;

// What the cache gives for the key, and whether it had to be made.
std::pair<std::string, bool> asked(Cache& cache, int key, size_t weight = 1) {
  bool made = false;
  const auto value = cache.get(key, [&]() -> Expected<Cache::Made> {
    made = true;
    return Cache::Made{"value " + std::to_string(key), weight};
  });
  return {value ? *value : value.error().message, made};
}

TEST(BoundedCacheTest, KeepsWhatWasAskedForLast) {
  Cache cache(2);
  EXPECT_EQ(asked(cache, 1), (std::pair<std::string, bool>("value 1", true)));
  asked(cache, 2);
  EXPECT_FALSE(asked(cache, 1).second);
  asked(cache, 3);
  EXPECT_FALSE(asked(cache, 1).second);
  EXPECT_TRUE(asked(cache, 2).second) << "it was asked for before the others";
}

TEST(BoundedCacheTest, CountsWeightsAndKeepsOneThatIsTooHeavyUntilTheNext) {
  Cache cache(10);
  asked(cache, 1, 4);
  asked(cache, 2, 4);
  asked(cache, 3, 50);
  EXPECT_FALSE(asked(cache, 3, 50).second);
  EXPECT_TRUE(asked(cache, 1, 4).second);
  EXPECT_TRUE(asked(cache, 3, 50).second);
}

TEST(BoundedCacheTest, AProblemIsNotKept) {
  Cache cache(2);
  const auto failed = cache.get(1, []() -> Expected<Cache::Made> { return Problem{5, "not now"}; });
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "not now");
  EXPECT_EQ(asked(cache, 1).first, "value 1");
  EXPECT_THROW((void)cache.get(2, []() -> Expected<Cache::Made> { throw Error("no memory"); }), Error);
  EXPECT_EQ(asked(cache, 2).first, "value 2");
}

TEST(BoundedCacheTest, WhatManyAskForAtOnceIsMadeOnce) {
  Cache cache(4);
  std::atomic<int> made{0}, right{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] {
        const auto value = cache.get(7, [&]() -> Expected<Cache::Made> {
          ++made;
          // Until the others have asked, mostly.
          std::this_thread::sleep_for(std::chrono::milliseconds(20));
          return Cache::Made{"seven"};
        });
        right += value && *value == "seven" ? 1 : 0;
      });
  }
  EXPECT_EQ(made, 1);
  EXPECT_EQ(right, 8);
}

}  // namespace
}  // namespace vs::backup
