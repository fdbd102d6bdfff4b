#include "core/store/seal_keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include "core/store/lease.h"
#include "tests/core/sealing.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"

namespace vs {
namespace {

using namespace std::chrono_literals;

constexpr int kGroupSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

class SealKeeperTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_STOP_IF(unit::cannot_seal());
    std::signal(SIGIO, SIG_IGN);
    for (int i = 0; i < 3; ++i) masters_.push_back(dir_ / ("master" + std::to_string(i)));
    for (const auto& master : masters_) unit::write_file(master, "content");
  }
  std::vector<UniqueFd> open_all() const {
    std::vector<UniqueFd> fds;
    for (const auto& master : masters_) fds.emplace_back(::open(master.c_str(), O_RDONLY | O_CLOEXEC));
    return fds;
  }
  static std::vector<int> numbers(const std::vector<UniqueFd>& fds) {
    std::vector<int> all;
    for (const auto& fd : fds) all.push_back(fd.get());
    return all;
  }
  bool all_sealed() const {
    return std::all_of(masters_.begin(), masters_.end(),
                       [](const auto& master) { return unit::is_sealed(master); });
  }
  bool none_sealed() const {
    return std::none_of(masters_.begin(), masters_.end(),
                        [](const auto& master) { return unit::is_sealed(master); });
  }
  bool sealed_soon() const {
    return test::within(10s, [&] { return all_sealed(); });
  }
  // A run: `work` with a keeper that has the masters; then, from outside, `meanwhile` and SIGKILL to the run.
  void run_killed(const std::function<void(SealKeeper&)>& work,
                  const std::function<void(pid_t run)>& meanwhile = {}) const {
    int ready[2];
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    const pid_t run = ::fork();
    if (run == 0) {
      ::setpgid(0, 0);
      for (const int signal : kGroupSignals)
        std::signal(signal, SIG_IGN);  // the run itself is only ever killed
      SealKeeper keeper;
      const auto fds = open_all();
      if (!keeper.start() || !keeper.hand_over(numbers(fds))) ::_exit(1);
      std::vector<Lease> leases;
      for (const auto& fd : fds) leases.push_back(value_or_throw(Lease::take(fd.get(), "m")));
      work(keeper);
      if (::write(ready[1], "x", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
    if (meanwhile) meanwhile(run);
    EXPECT_TRUE(none_sealed());
    ::kill(run, SIGKILL);
    ::waitpid(run, nullptr, 0);
  }

  const unit::ScratchDir dir_;
  std::vector<std::string> masters_;
};

TEST_F(SealKeeperTest, SealsWhenItsParentIsKilled) {
  run_killed([](SealKeeper&) {});
  EXPECT_TRUE(sealed_soon());
}

// Ctrl-C goes to the process group; the keeper must outlive the run to do its work.
TEST_F(SealKeeperTest, OutlivesASignalToTheProcessGroup) {
  for (const int signal : kGroupSignals) {
    for (const auto& master : masters_) unit::unseal(master);
    run_killed([](SealKeeper&) {},
               [&](pid_t run) {
                 ::kill(-run, signal);
                 std::this_thread::sleep_for(50ms);  // what is tested: that it lives on for a while
               });
    EXPECT_TRUE(sealed_soon()) << signal;
  }
}

// The lease belongs to the open file, which the keeper shares: no writer gets in between the death and the
// seal.
TEST_F(SealKeeperTest, TheLeaseOutlivesTheParentUntilItIsSealed) {
  std::atomic<bool> stop{false};
  std::atomic<int> tried{0}, written{0};
  std::jthread guest;
  run_killed([](SealKeeper&) {},
             [&](pid_t) {
               guest = std::jthread([&] {
                 for (; !stop; ++tried) {
                   const UniqueFd fd(::open(masters_[0].c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
                   if (fd && ::pwrite(fd.get(), "EVIL", 4, 0) == 4) ++written;
                 }
               });
               while (tried < 100) std::this_thread::yield();
             });
  EXPECT_TRUE(sealed_soon());
  stop = true;
  guest.join();
  EXPECT_EQ(written, 0);
  EXPECT_EQ(unit::read_file(masters_[0]), "content");
}

TEST_F(SealKeeperTest, LetsGoOfWhatItWasToldToForget) {
  run_killed([](SealKeeper& keeper) { ok_or_throw(keeper.forget()); });
  std::this_thread::sleep_for(200ms);  // what is tested: that nothing is sealed for a while
  EXPECT_TRUE(none_sealed());
}

TEST_F(SealKeeperTest, KeepsOneBatchAfterTheOther) {
  SealKeeper keeper;
  ASSERT_TRUE(keeper.start());
  for (int batch = 0; batch < 100; ++batch) {
    const auto fds = open_all();
    ASSERT_TRUE(keeper.hand_over(numbers(fds)));
    ASSERT_TRUE(keeper.forget());
  }
}

// More than go in one message, and as many as a batch may have.
TEST_F(SealKeeperTest, TakesABatchOfThousands) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const size_t count = std::min<size_t>(2500, limit.rlim_cur / 2);
  masters_.clear();
  for (size_t i = 0; i < count; ++i) {
    masters_.push_back(dir_ / ("many" + std::to_string(i)));
    unit::write_file(masters_.back(), "");
  }
  {
    const auto fds = open_all();
    SealKeeper keeper;
    ASSERT_TRUE(keeper.start());
    const auto handed = keeper.hand_over(numbers(fds));
    ASSERT_TRUE(handed) << handed.error().message;
  }  // its end is as good as a kill: what was not forgotten is sealed
  EXPECT_TRUE(all_sealed());
}

TEST_F(SealKeeperTest, SaysWhenItIsNotThere) {
  SealKeeper keeper;
  ASSERT_TRUE(keeper.start());
  const pid_t child = [] {
    std::string path = "/proc/self/task/" + std::to_string(::gettid()) + "/children";
    const std::string children = unit::read_file(path);
    return static_cast<pid_t>(
        std::stol(children.substr(children.find_last_of(' ', children.size() - 2) + 1)));
  }();
  ::kill(child, SIGKILL);
  siginfo_t ended{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);
  const auto fds = open_all();
  EXPECT_FALSE(keeper.hand_over(numbers(fds)));
  EXPECT_FALSE(keeper.forget());
}

TEST_F(SealKeeperTest, LeavesNoProcessBehind) {
  {
    SealKeeper keeper;
    ASSERT_TRUE(keeper.start());
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
}

}  // namespace
}  // namespace vs
