// kill -9 at every step and at any instant: no byte is lost, and `recover` makes it whole.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <random>
#include <thread>

#include "tests/crash/crash_host.h"
#include "tests/support/inject.h"
#include "tests/support/skip.h"

namespace vs::test {
namespace {

// What changes a guest, the store or the journal, and how many of its calls are taken.
struct Step {
  const char* syscall;
  size_t sampled;
};
constexpr Step kSteps[] = {{"linkat", 24},        {"renameat2", 24}, {"unlinkat", 20}, {"fsync", 10},
                           {"fdatasync", 10},     {"syncfs", 6},     {"ioctl", 24},    {"openat2", 12},
                           {"fcntl", 12},         {"write", 12},     {"pwrite64", 10}, {"ftruncate", 6},
                           {"fallocate", 6},      {"renameat", 6},   {"rename", 8},    {"openat", 10},
                           {"fchown", 6},         {"fchmod", 6},     {"utimensat", 6}, {"mkdirat", 4},
                           {"copy_file_range", 6}};

constexpr unsigned kMostFailures = 5;  // enough to see what they have in common

class KillTest : public testing::TestWithParam<std::string> {};

TEST_P(KillTest, AtEveryStepLosesNothing) {
  VS_NEEDS_FILESYSTEM("ext4");
  VS_STOP_IF(injection_impossible());
  const Task& task = test::task(GetParam());
  TestHost host(small_host("ext4"));
  unsigned killed = 0, failed = 0;
  for (const auto& [syscall, sampled] : kSteps) {
    if (left_out(syscall)) continue;
    host.reset();
    task.prepare(host);
    const Command command = host.command(task.verb, task.options);
    const auto ordinals = call_ordinals(command, syscall, host.trace_marks());
    for (const unsigned when : sample(ordinals, most_steps(task.verb == "run" ? sampled : sampled / 2))) {
      host.reset();
      task.prepare(host);
      const auto before = host.snapshots();
      const auto result = run(with_injection(command, syscall, "signal=KILL", std::to_string(when)));
      killed += result.killed();
      ASSERT_FALSE(result.timed_out) << syscall << " " << when;
      // Not even for a moment: this is what the guests see until recovery comes (but for hard links half
      // moved).
      std::string trouble = host.changes_since(before, Links::any);
      if (!trouble.empty()) trouble = "\nbefore recovery" + trouble;
      trouble += host.trouble_after_recovery(before);
      EXPECT_EQ(trouble, "") << task.name << " killed at " << syscall << " " << when;
      if (!trouble.empty() && ++failed == kMostFailures) return;
    }
  }
  EXPECT_GT(killed, 20U) << "hardly anything was interrupted: does the command do what it should?";
  RecordProperty("killed", static_cast<int>(killed));
}

INSTANTIATE_TEST_SUITE_P(Tasks, KillTest,
                         testing::Values("run_one_thread", "run_two_threads", "run_masters_gain_names",
                                         "release", "undo", "gc", "recover"),
                         [](const auto& tested) { return tested.param; });

class RandomKillTest : public testing::TestWithParam<std::string> {};

TEST_P(RandomKillTest, AtAnyInstantLosesNothing) {
  VS_NEEDS_FILESYSTEM(GetParam());
  using Clock = std::chrono::steady_clock;
  TestHost host(small_host(GetParam()));
  // Enough files that a run has some length.
  std::mt19937 random(20'240'601);
  // The shortest of a few: on a busy machine one may be so slow that most of the others end before they are
  // killed.
  auto length = std::chrono::microseconds::max();
  for (int i = 0; i < 4; ++i) {
    host.reset();
    const auto started = Clock::now();
    must_do(host, "run");
    length = std::min(length, std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - started));
  }
  const size_t kills = std::min<size_t>(most_steps(GetParam() == "ext4" ? 200 : 40), 1000);
  unsigned killed = 0, failed = 0;
  for (size_t i = 0; i < kills; ++i) {
    host.reset();
    const char* const task_names[] = {"run_one_thread", "run_two_threads", "run_masters_gain_names",
                                      "release", "undo"};
    const Task& task = test::task(task_names[i % std::size(task_names)]);
    task.prepare(host);
    const auto before = host.snapshots();
    Process process(host.command(task.verb, task.options));
    const auto wait =
        std::chrono::microseconds(random() % static_cast<unsigned>(length.count() + length.count() / 4));
    std::this_thread::sleep_for(wait);
    if (i % 2)
      process.signal(SIGKILL);
    else
      process.signal_group(SIGKILL);
    killed += process.wait().killed();
    std::string trouble = host.changes_since(before, Links::any);
    if (!trouble.empty()) trouble = "\nbefore recovery" + trouble;
    trouble += host.trouble_after_recovery(before);
    EXPECT_EQ(trouble, "") << task.name << " killed after " << wait.count() << " us";
    if (!trouble.empty() && ++failed == kMostFailures) return;
  }
  EXPECT_GT(killed, kills / 5);
  RecordProperty("killed", static_cast<int>(killed));
}

INSTANTIATE_TEST_SUITE_P(Filesystems, RandomKillTest, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace vs::test
