// Hostile guests against vunify: what SECURITY.md promises, attacked.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <thread>

#include "tests/support/attack.h"
#include "tests/support/inject.h"
#include "tests/support/skip.h"

namespace vs::test {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// How many `vunify run` an attack lasts.
unsigned attack_runs() {
  const char* chosen = std::getenv("VS_ATTACK_RUNS");
  return chosen != nullptr ? static_cast<unsigned>(std::strtoul(chosen, nullptr, 10)) : 100;
}

// A rest at one of the places where a race would be lost, so that on two cores the guests get in between.
Command held_up(const Command& command, std::mt19937& random) {
  struct Place {
    const char* syscall;
    const char* side;
  };
  static constexpr Place kPlaces[] = {{"renameat2", "delay_enter"}, {"renameat2", "delay_exit"},
                                      {"linkat", "delay_exit"},     {"ioctl", "delay_enter"},
                                      {"ioctl", "delay_exit"},      {"fcntl", "delay_exit"},
                                      {"openat2", "delay_exit"},    {"unlinkat", "delay_enter"},
                                      {"pread64", "delay_exit"},    {"statx", "delay_exit"}};
  const Place& place = kPlaces[random() % std::size(kPlaces)];
  // Some 30 rests of 2 ms: the run stays short and every stage gets its share.
  return with_injection(command, place.syscall, fmt::format("{}={}", place.side, 500 + random() % 2500),
                        fmt::format("{}+{}", 1 + random() % 8, 2 + random() % 10));
}

// The number after these words in the counters that --stats prints.
uint64_t counted(const std::string& text, const std::string& words) {
  const auto at = text.rfind(words);
  return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + words.size(), nullptr, 10);
}

class AttackTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { VS_NEEDS_FILESYSTEM(GetParam()); }
};

TEST_P(AttackTest, NoByteOfAnotherGuestEverAppears) {
  const uint32_t seed = 4711;
  AttackHost attack(GetParam(), seed);
  TestHost& host = attack.host();
  std::mt19937 random(seed);
  uint64_t linked = 0, runs = 0, put_back = 0, restored = 0, broken = 0;
  attack.start();
  for (; runs < attack_runs(); ++runs) {
    // Everything is sealed after a while: guests get private copies back and it all begins again.
    Command also;
    if (runs % 4 == 3) also = {"release", runs % 8 == 3 ? "alpha" : "beta"};
    if (runs % 10 == 6 && host.seals()) also = {"undo", "last"};
    if (runs % 25 == 20) also = {"gc"};
    if (!also.empty()) {
      const auto result = host.vunify(also[0], Command(also.begin() + 1, also.end()));
      EXPECT_THAT(result.exit_code, AnyOf(0, 3)) << also[0] << ": " << shown(result);
    }
    Command command = host.command("run", {"--json", "--stats", runs % 2 ? "-j2" : "-j1"});
    if (runs % 3 == 2) command.insert(command.end(), {"--scope", "all"});
    if (runs % 2 && !injection_impossible()) command = held_up(command, random);
    RunOptions options;
    if (runs % 5 == 4) options.env["VS_NO_OPENAT2"] = "1";  // the way taken on kernels without openat2
    const auto result = run(command, options);
    ASSERT_FALSE(result.killed() || result.timed_out) << "run " << runs << ": " << shown(result);
    EXPECT_THAT(result.exit_code, AnyOf(0, 3)) << "run " << runs << ": " << shown(result);
    linked += summary_number(result, "files_linked");
    put_back += counted(result.err, "put back ");
    restored += counted(result.err, "classes restored ");
    broken += counted(result.err, "leases on masters broken ");
  }
  RunResult recovered, checked;
  std::vector<std::string> defects;
  const auto outcome = attack.stop([&] {
    recovered = host.vunify("recover");
    checked = host.vunify("check");
    defects = host.store_defects();
  });
  EXPECT_EQ(recovered.exit_code, 0) << shown(recovered);
  EXPECT_EQ(checked.exit_code, 0) << shown(checked);
  EXPECT_THAT(defects, IsEmpty());
  EXPECT_EQ(outcome.trouble, "");
  // An attack on a tool that does nothing proves nothing.
  EXPECT_GT(linked, 2 * runs);
  EXPECT_GT(outcome.done, 100 * runs);
  fmt::print(
      "{}: {} runs linked {} files, put back {}, restored {} classes, met {} broken leases; actors {} "
      "operations, {} refused ({})\n",
      GetParam(), runs, linked, put_back, restored, broken, outcome.done, outcome.refused, outcome.by_role);
}

INSTANTIATE_TEST_SUITE_P(Filesystems, AttackTest, testing::Values("ext4", "xfs", "btrfs"),
                         [](const auto& tested) { return tested.param; });

// One guest, one attack: in the moment in which a shared file is unsealed it renames it over a file that is
// about to be exchanged for another master. What it renamed must be there afterwards, whoever sealed what
// meanwhile (unify/change/stray_masters.h).
class RenamingGuest {
 public:
  static constexpr int kPairs = 5;
  RenamingGuest(const FakeGuest& guest, int round) : guest_(guest), round_(round) {}
  static std::string shared(int i) { return fmt::format("usr/share/attack/shared-{}", i); }
  static std::string own(int i, int round) { return fmt::format("usr/share/attack/own-{}-{}", i, round); }

  void begin() {
    renamed_.assign(kPairs, -1);
    thread_ = std::jthread([this](std::stop_token stop) {
      std::mt19937 random(kPairs);
      while (!stop.stop_requested())
        for (int i = 0; i < kPairs; ++i) {
          const int over = static_cast<int>(random() % kPairs);
          const bool free = std::find(renamed_.begin(), renamed_.end(), over) == renamed_.end();
          if (renamed_[static_cast<size_t>(i)] >= 0 || !free) continue;
          if (::rename((guest_ / shared(i)).c_str(), (guest_ / own(over, round_)).c_str()) == 0)
            renamed_[static_cast<size_t>(i)] = over;
        }
    });
  }
  // Which own file each shared one went over; -1: none.
  std::vector<int> end() {
    thread_.request_stop();
    thread_.join();
    return renamed_;
  }

 private:
  const FakeGuest& guest_;
  const int round_;
  std::vector<int> renamed_;
  std::jthread thread_;
};

TEST(RenameAttackTest, WhatIsRenamedOverAFileInExchangeStays) {
  VS_NEEDS_FILESYSTEM("ext4");
  VS_STOP_IF(injection_impossible());
  HostOptions options;
  options.guests = {"alpha", "beta"};
  options.scope = "all";
  TestHost host(options);
  const FakeGuest& alpha = host.guest("alpha");
  const auto content = [](const std::string& path, int number) {
    return tagged_bytes(fmt::format("{} {}", path, number), 6000);
  };
  int renamed = 0, put_back = 0;
  for (int round = 0; round < 25; ++round) {
    for (int i = 0; i < RenamingGuest::kPairs; ++i)
      for (const auto& guest : host.guests())
        if (::access((guest / RenamingGuest::shared(i)).c_str(), F_OK) != 0)
          write_fake_file(guest.root(), {RenamingGuest::shared(i), content("shared", i)});
    const auto linked = host.vunify("run");
    for (int i = 0; i < RenamingGuest::kPairs; ++i)
      ASSERT_TRUE(is_immutable(alpha / RenamingGuest::shared(i))) << shown(linked);
    // The master of each shared one is to get one more name, and alpha's own a master.
    for (int i = 0; i < RenamingGuest::kPairs; ++i) {
      write_fake_file(host.guest("beta").root(),
                      {fmt::format("usr/share/attack/more-{}-{}", i, round), content("shared", i)});
      write_fake_file(host.guest("beta").root(), {fmt::format("usr/share/attack/equal-{}-{}", i, round),
                                                  content("own", 1000 * round + i)});
      write_fake_file(alpha.root(), {RenamingGuest::own(i, round), content("own", 1000 * round + i)});
    }
    RenamingGuest attacker(alpha, round);
    attacker.begin();
    const auto result = run(with_injection(host.command("run", {"--stats", "-j2"}), "renameat2",
                                           round % 2 ? "delay_enter=3000" : "delay_exit=3000", "1+"));
    const auto went = attacker.end();
    EXPECT_THAT(result.exit_code, AnyOf(0, 3)) << "round " << round << ": " << shown(result);
    put_back += static_cast<int>(counted(result.err, "put back "));
    EXPECT_EQ(host.vunify("recover").exit_code, 0);
    for (int i = 0; i < RenamingGuest::kPairs; ++i) {
      const int over = went[static_cast<size_t>(i)];
      EXPECT_EQ(::access((alpha / RenamingGuest::shared(i)).c_str(), F_OK) == 0, over < 0)
          << "round " << round << ", shared file " << i;
      if (over < 0) continue;
      ++renamed;
      EXPECT_TRUE(read_file(alpha / RenamingGuest::own(over, round)) == content("shared", i))
          << "round " << round << ": what was renamed over " << RenamingGuest::own(over, round)
          << " is lost\n"
          << shown(result);
    }
    ASSERT_THAT(host.store_defects(), IsEmpty());
    if (HasFailure()) break;
  }
  EXPECT_EQ(host.vunify("check").exit_code, 0);
  fmt::print(
      "{} shared files were renamed over others while they were unsealed, {} exchanges were taken back\n",
      renamed, put_back);
  EXPECT_GT(put_back, 0);
}

}  // namespace
}  // namespace vs::test
