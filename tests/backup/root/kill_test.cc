// kill -9 at random instants, hundreds of them, over guests so small that a run takes some tens of milliseconds: after each the rerun makes it whole.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include "tests/backup/backup_host.h"
#include "tests/support/inject.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using std::chrono::steady_clock;
using testing::HasSubstr;
using testing::Not;

class BackupKills : public testing::Test {
 protected:
  BackupKills() {
    must_run({"bash", "-c", "mkdir -p '" + host_.tree("alpha") + "/etc' '" + host_.tree("beta") + "/etc' && cd '" + host_.tree("alpha") + R"sh(' &&
      for i in $(seq 20); do echo file $i > etc/$i; done; head -c 200000 /dev/urandom > etc/random; head -c 5000000 /dev/zero > zeros; ln etc/1 etc/one; ln -s etc/1 link; mkfifo fifo
      for i in 3 4 5; do ln etc/$i ../beta/etc/$i; done; setfattr -n user.test -v value etc/2; chmod 4755 etc/6; echo beta > ../beta/etc/own )sh"});
    create_ = host_.command("create", {"--state", host_.scratch("state"), "--longest-chain", "4"});
    for (const auto& [name, path] : host_.trees()) create_.insert(create_.end(), {"--tree", name + "=" + path});
  }

  // Runs `command` and kills it at a random part of what it takes to its end, or a little later.
  void kill_within(const Command& command) {
    Process process(command);
    const auto begin = steady_clock::now();
    std::this_thread::sleep_for(std::chrono::microseconds(random_() % static_cast<uint64_t>(longest_.count())));
    const bool alive = process.running();
    process.signal_group(9);
    process.wait();
    killed_ += alive ? 1 : 0;
    // What takes longer than we wait at most is always killed early: wait longer; and the other way round.
    if (alive) longest_ += longest_ / 50;
    else longest_ = std::max<std::chrono::microseconds>(5ms, std::min(longest_ - longest_ / 20, std::chrono::duration_cast<std::chrono::microseconds>(steady_clock::now() - begin) * 2));
  }
  void change(int round) {
    write_file(host_.tree("alpha") + "/etc/round", std::to_string(round));
    const std::string pair = "/etc/pair-" + std::to_string(round % 3);
    fs::remove(host_.tree("beta") + pair);
    write_file(host_.tree("alpha") + pair, std::to_string(round));
    fs::create_hard_link(host_.tree("alpha") + pair, host_.tree("beta") + pair);
    fs::remove(host_.tree("alpha") + pair);  // shared in one round, beta's alone in the next
    if (round % 2 == 0) fs::create_hard_link(host_.tree("beta") + pair, host_.tree("alpha") + pair);
    // Beside it in its pool archive, and living longer: archives that are partly dead.
    if (round % 4 != 0) return;
    const std::string longer = "/etc/longer-" + std::to_string(round % 28);
    for (const char* guest : {"alpha", "beta"}) fs::remove(host_.tree(guest) + longer);
    write_file(host_.tree("alpha") + longer, std::to_string(round));
    fs::create_hard_link(host_.tree("alpha") + longer, host_.tree("beta") + longer);
  }
  void expect_whole(int round) {
    const RunResult check = host_.vbackup("check");
    ASSERT_EQ(check.exit_code, 0) << "round " << round << "\n" << check.out << check.err;
  }
  void expect_no_leftovers() {
    for (const auto& entry : fs::directory_iterator(host_.set())) EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr(".part")));
  }
  void expect_same(const std::string& into) { EXPECT_EQ(difference(everything_of(host_.trees()), everything_of(host_.restored(into))), ""); }

  BackupHost host_;
  Command create_;
  std::mt19937_64 random_{42};
  std::chrono::microseconds longest_ = 40ms;
  int killed_ = 0;
};

TEST_F(BackupKills, OfCreateAreMadeGoodByTheNextRun) {
  for (int i = 0; i < 220; ++i) {
    change(i);
    kill_within(create_);
    if (i % 4 == 1 && fs::exists(host_.set() + "/vbackup.set")) expect_whole(i);  // what the killed one left, before anything is made good
    const RunResult again = run(create_);
    ASSERT_EQ(again.exit_code, 0) << "round " << i << "\n" << again.err;
    if (i % 4 == 3) {
      expect_whole(i);
    }
    if (i % 40 != 39) continue;
    expect_no_leftovers();
    expect_same("r" + std::to_string(i));
    ASSERT_EQ(host_.vbackup("forget", {"--keep-last", "3", "--prune"}).exit_code, 0);  // or the set grows long
  }
  EXPECT_GT(killed_, 80);
}

TEST_F(BackupKills, OfRestoreLeaveTheSetAloneAndItIsDoneAgain) {
  ASSERT_EQ(run(create_).exit_code, 0);
  const Everything before = everything_of(host_.trees());
  for (int i = 0; i < 110; ++i) {
    const std::string target = host_.scratch("k" + std::to_string(i));
    const Command restore = host_.command("restore", {"--target", target, "--all"});
    kill_within(restore);
    // What is there is never taken for a guest to restore into; removed, it can be made whole.
    remove_tree(target);
    ASSERT_EQ(run(restore).exit_code, 0);
    if (i % 10 == 9) {
      EXPECT_EQ(difference(before, everything_of({{"alpha", target + "/alpha"}, {"beta", target + "/beta"}})), "");
    }
    remove_tree(target);
  }
  expect_whole(110);
  EXPECT_GT(killed_, 40);
}

TEST_F(BackupKills, OfForgetAndPruneLeaveEveryListedStateRestorable) {
  longest_ = 15ms;
  for (int i = 0; i < 210; ++i) {
    change(i);
    const RunResult made = run(create_);
    ASSERT_EQ(made.exit_code, 0) << made.err;
    kill_within(host_.command("forget", {"--keep-last", "2", "--prune", "--most-dead", "20"}));
    if (i % 3 == 2) {
      expect_whole(i);
    }
    if (i % 5 == 4) {
      ASSERT_EQ(host_.vbackup("forget", {"--keep-last", "2", "--prune", "--most-dead", "20"}).exit_code, 0);
    }
    if (i % 50 == 49) {
      expect_same("r" + std::to_string(i));
    }
  }
  ASSERT_EQ(host_.vbackup("forget", {"--keep-last", "2", "--prune", "--most-dead", "20"}).exit_code, 0);
  expect_whole(210);
  EXPECT_GT(killed_, 60);
}

// Every kind of call by which create changes the set or learns something fails once: it says so, nothing half appears, the next run is whole.
class BackupFailingCalls : public BackupKills, public testing::WithParamInterface<std::pair<const char*, const char*>> {};

TEST_P(BackupFailingCalls, AreTold) {
  if (const auto why = injection_impossible()) GTEST_SKIP() << *why;
  const auto& [syscall, error] = GetParam();
  ASSERT_EQ(run(create_).exit_code, 0);
  int told = 0;
  int round = 1000;
  for (const unsigned ordinal : sample(call_ordinals(create_, syscall, {host_.set(), host_.scratch("state"), host_.scratch("trees")}), 6)) {
    change(++round);
    const RunResult result = run(with_injection(create_, syscall, std::string("error=") + error, std::to_string(ordinal)));
    EXPECT_THAT(result.exit_code, testing::AnyOf(0, 1, 2, 3)) << shown(result);
    if (result.exit_code != 0) {
      ++told;
      EXPECT_THAT(result.err, HasSubstr("vbackup: ")) << shown(result);
    }
    expect_whole(round);
    const RunResult again = run(create_);
    ASSERT_EQ(again.exit_code, 0) << again.err;
    expect_no_leftovers();
  }
  expect_same("r");
  if (std::string(syscall) != "getdents64") {
    EXPECT_GT(told, 0) << "no failing " << syscall << " was told of";
  }
}

INSTANTIATE_TEST_SUITE_P(Calls, BackupFailingCalls,
                         testing::Values(std::pair{"write", "ENOSPC"}, std::pair{"fsync", "EIO"}, std::pair{"renameat", "EIO"}, std::pair{"pread64", "EIO"}, std::pair{"openat", "EMFILE"},
                                         std::pair{"getdents64", "EIO"}),
                         [](const auto& one) { return std::string(one.param.first); });

}  // namespace
}  // namespace vs::test
