#include "core/phase_timer.h"

#include <gtest/gtest.h>

#include <thread>

namespace vs {
namespace {

using namespace std::chrono_literals;

TEST(PhaseTimerTest, SumsPassesOfOneNameInTheOrderTheyBegan) {
  PhaseTimer timer;
  for (const char* pass : {"scan", "verify", "scan"}) {
    const auto timed = timer.time(pass);
    std::this_thread::sleep_for(5ms);
  }
  ASSERT_EQ(timer.passes().size(), 2u);
  EXPECT_EQ(timer.passes()[0].first, "scan");
  EXPECT_EQ(timer.passes()[1].first, "verify");
  EXPECT_GE(timer.passes()[0].second, 0.010);
  EXPECT_GE(timer.total(), timer.passes()[0].second + timer.passes()[1].second);
}

}  // namespace
}  // namespace vs
