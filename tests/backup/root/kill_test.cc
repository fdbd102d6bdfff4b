// kill -9 at random instants, hundreds of them, over guests so small that a run takes some tens of
// milliseconds: after each the rerun makes it whole.
//
// Each kill is of a set of its own, a copy of one made before: archives bear the second of their run, so a
// second run on one set would mostly wait, and be killed waiting. Four at a time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <random>
#include <thread>

#include "tests/backup/backup_host.h"
#include "tests/support/inject.h"
#include "tests/support/skip.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

class BackupKills : public testing::Test {
 protected:
  // A set of four states; their pool archives are partly dead when two of them are forgotten.
  BackupKills() {
    must_run({"bash", "-c",
              "mkdir -p '" + host_.tree("alpha") + "/etc' '" + host_.tree("beta") + "/etc' && cd '" +
                  host_.tree("alpha") + R"sh(' &&
      for i in $(seq 20); do echo file $i > etc/$i; done; head -c 200000 /dev/urandom > etc/random; head -c 5000000 /dev/zero > zeros; ln etc/1 etc/one; ln -s etc/1 link; mkfifo fifo
      for i in $(seq 3 9); do ln etc/$i ../beta/etc/$i; done; setfattr -n user.test -v value etc/2; chmod 4755 etc/16; echo beta > ../beta/etc/own
      mkdir -p sealed; echo in > sealed/in; chattr +i etc/18 sealed ../beta/etc/own || true )sh"});
    for (int state = 0; state < 4; ++state) {
      const RunResult made = host_.create(state == 2 ? Command{"--full"} : Command{});
      if (made.exit_code != 0) throw std::runtime_error(made.err);
      must_run({"bash", "-c",
                "cd '" + host_.tree("alpha") + "' && echo " + std::to_string(state) +
                    " > etc/state && rm etc/" + std::to_string(3 + state) + " ../beta/etc/" +
                    std::to_string(3 + state) + " && echo new > etc/pair-" + std::to_string(state) +
                    " && ln etc/pair-" + std::to_string(state) + " ../beta/etc/"});
    }
    std::this_thread::sleep_for(1100ms);  // the copies' next stamp is a later one
  }

  struct Place {
    std::string set, state;
  };
  Place copy(const std::string& name) const {
    must_run({"cp", "-a", host_.set(), host_.scratch(name)});
    must_run({"cp", "-a", host_.scratch("state"), host_.scratch(name + "-state")});
    return {host_.scratch(name), host_.scratch(name + "-state")};
  }
  Command command(const Place& place, const std::string& verb, const Command& more = {}) const {
    Command line{vbackup_path(), verb, "--to", place.set, "--progress", "never"};
    if (verb == "create") {
      line.insert(line.end(), {"--state", place.state});
      for (const auto& [name, path] : host_.trees()) line.insert(line.end(), {"--tree", name + "=" + path});
    }
    line.insert(line.end(), more.begin(), more.end());
    return line;
  }
  void expect_whole(const Place& place, const std::string& when) const {
    const RunResult check = run(command(place, "check"));
    EXPECT_EQ(check.exit_code, 0) << when << "\n" << check.out << check.err;
  }
  void expect_no_leftovers(const Place& place) const {
    for (const auto& entry : fs::directory_iterator(place.set))
      EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr(".part")));
  }
  void expect_same(const Place& place) const {
    const std::string target = place.set + "-back";
    const RunResult back = run(command(place, "restore", {"--target", target, "--all"}));
    EXPECT_EQ(back.exit_code, 0) << back.err;
    EXPECT_EQ(difference(everything_of(host_.trees()),
                         everything_of({{"alpha", target + "/alpha"}, {"beta", target + "/beta"}})),
              "");
    remove_tree(target);
  }

  // Calls `body` with the number of each kill and a function that runs a command and kills it within what the
  // last ones took; and goes on, up to five times as often, until it is `enough`: on a busy machine many
  // kills come too late.
  void kill(
      int kills, const std::function<void(int, const std::function<void(const Command&)>&)>& body,
      const std::function<bool()>& enough = [] { return true; }) {
    std::vector<std::jthread> threads;
    std::atomic<int> next{0};
    for (unsigned t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        std::mt19937_64 random{t};
        std::chrono::microseconds longest = 40ms;
        const auto killer = [&](const Command& line) {
          Process process(line);
          std::this_thread::sleep_for(
              std::chrono::microseconds(random() % static_cast<uint64_t>(longest.count())));
          const bool alive = process.running();
          process.signal_group(9);
          process.wait();
          killed_ += alive ? 1 : 0;
          // A third of them shall be over: then the kills are spread over all that a run does.
          longest = alive ? longest + longest / 30
                          : std::max<std::chrono::microseconds>(5ms, longest - longest / 15);
        };
        for (int i = next++; (i < kills || (i < 5 * kills && !enough())) && !HasFailure(); i = next++)
          body(i, killer);
      });
  }

  BackupHost host_;
  std::atomic<int> killed_{0};
};

TEST_F(BackupKills, OfCreateAreMadeGoodByTheNextRun) {
  kill(80, [&](int i, const auto& kill_within) {
    const Place place = copy("c" + std::to_string(i));
    kill_within(command(place, "create", i % 3 == 0 ? Command{"--full"} : Command{}));
    expect_whole(place, "killed");
    const RunResult again = run(command(place, "create"));
    EXPECT_EQ(again.exit_code, 0) << again.err;
    expect_no_leftovers(place);
    if (i % 5 == 0) {
      expect_whole(place, "made good");
      expect_same(place);
    }
    remove_tree(place.set);
    remove_tree(place.state);
  });
  EXPECT_GT(killed_, 20);
}

TEST_F(BackupKills, OfRestoreAreMadeGoodByTheSameCommand) {
  const Place place = copy("r");
  ASSERT_EQ(run(command(place, "create")).exit_code, 0);
  std::atomic<int> rerun{0}, finished{0};
  kill(
      60,
      [&](int i, const auto& kill_within) {
        const std::string target = host_.scratch("k" + std::to_string(i));
        const Command restore = command(place, "restore", {"--target", target, "--all"});
        kill_within(restore);
        // A vserver has its name only when all of it is there; of the last steps, in which they get their
        // names, some may have been taken.
        const bool any = fs::exists(target + "/alpha") || fs::exists(target + "/beta"),
                   going_on = fs::exists(target + "/.vbackup-restore/.complete");
        if (any && !going_on) {
          EXPECT_EQ(run(restore).exit_code, 2) << "it had ended";
        } else {
          rerun += fs::exists(target) ? 1 : 0;
          finished += going_on ? 1 : 0;
          const RunResult again = run(restore);
          EXPECT_EQ(again.exit_code, 0) << again.err;
        }
        EXPECT_EQ(std::distance(fs::directory_iterator(target), fs::directory_iterator()), 2)
            << "something is left";
        if (i % 3 == 0) {
          EXPECT_EQ(difference(everything_of(host_.trees()),
                               everything_of({{"alpha", target + "/alpha"}, {"beta", target + "/beta"}})),
                    "");
        }
        remove_tree(target);
      },
      [&] { return rerun > 10; });
  expect_whole(place, "after all");
  EXPECT_GT(rerun, 10);
  RecordProperty("killed_while_putting_in_place", finished);
}

TEST_F(BackupKills, OfRestoreInItsLastStepsAreMadeGoodByTheSameCommandAlone) {
  VS_STOP_IF(injection_impossible());
  const Place place = copy("l");
  ASSERT_EQ(run(command(place, "create")).exit_code, 0);
  int n = 0;
  // Before the mark; between the mark and the first vserver in place; between the two; before the mark goes;
  // after it.
  for (const auto& [syscall, when, complete] : {std::tuple{"syncfs", "1", false},
                                                {"renameat2", "1", true},
                                                {"renameat2", "2", true},
                                                {"unlinkat", "1", true},
                                                {"unlinkat", "2", false}}) {
    const std::string target = host_.scratch("last" + std::to_string(n++));
    const Command restore = command(place, "restore", {"--target", target, "-j", "1", "alpha", "beta"});
    ASSERT_NE(run(with_injection(restore, syscall, "signal=KILL", when)).exit_code, 0) << syscall;
    ASSERT_EQ(fs::exists(target + "/.vbackup-restore/.complete"), complete) << syscall << when;
    const RunResult other = run(command(place, "restore", {"--target", target, "alpha:/etc"}));
    EXPECT_EQ(other.exit_code, complete || n == 5 ? 2 : 0) << syscall << when << other.err;
    if (complete) {
      EXPECT_THAT(other.err, HasSubstr("Run the same command again")) << syscall << when;
    } else if (n == 1) {
      remove_tree(target + "/alpha");  // what the other command restored over the half tree
    }
    const RunResult again = run(restore);
    EXPECT_EQ(again.exit_code, n == 5 ? 2 : 0) << syscall << when << again.err;
    EXPECT_EQ(difference(everything_of(host_.trees()),
                         everything_of({{"alpha", target + "/alpha"}, {"beta", target + "/beta"}})),
              "")
        << syscall << when;
  }
}

TEST_F(BackupKills, OfForgetAndPruneLeaveEveryListedStateRestorable) {
  kill(80, [&](int i, const auto& kill_within) {
    const Place place = copy("f" + std::to_string(i));
    const Command forget = command(place, "forget", {"--keep-last", "2", "--prune", "--most-dead", "10"});
    kill_within(forget);
    expect_whole(place, "killed");
    EXPECT_EQ(run(forget).exit_code, 0);
    expect_no_leftovers(place);
    expect_whole(place, "made good");
    remove_tree(place.set);
    remove_tree(place.state);
  });
  EXPECT_GT(killed_, 20);
}

// Kinds of calls by which create reads guests and changes the set fail once each: it says so, nothing half
// appears, the next run is whole.
class BackupFailingCalls : public BackupKills,
                           public testing::WithParamInterface<std::pair<const char*, const char*>> {};

TEST_P(BackupFailingCalls, AreTold) {
  VS_STOP_IF(injection_impossible());
  const auto& [syscall, error] = GetParam();
  // Without an index, so that all is read.
  const auto create = [&](const std::string& name) {
    Place place = copy(name);
    remove_tree(place.state);
    return std::pair{place, command(place, "create", {"--full"})};
  };
  // Trees are read through a mount of their own, where paths begin at their top.
  const auto [first, counted] = create("ordinals");
  int told = 0;
  for (const unsigned ordinal :
       sample(call_ordinals(counted, syscall, {first.set, first.state, "/trees/", "</>", "</etc"}), 4)) {
    const auto [place, line] = create("n" + std::to_string(ordinal));
    const RunResult result =
        run(with_injection(line, syscall, std::string("error=") + error, std::to_string(ordinal)));
    EXPECT_THAT(result.exit_code, testing::AnyOf(0, 1, 2, 3)) << shown(result);
    told += result.exit_code != 0 ? 1 : 0;
    // The failing write may be that of the message.
    EXPECT_TRUE(result.exit_code == 0 || std::string(syscall) == "write" ||
                result.err.find("vbackup: ") != std::string::npos)
        << shown(result);
    expect_whole(place, "after a failing call");
    EXPECT_EQ(run(command(place, "create")).exit_code, 0);
    expect_no_leftovers(place);
    expect_same(place);
  }
  EXPECT_GT(told, 0) << "no failing " << syscall << " was told of";
}

INSTANTIATE_TEST_SUITE_P(Calls, BackupFailingCalls,
                         testing::Values(std::pair{"write", "ENOSPC"}, std::pair{"fsync", "EIO"},
                                         std::pair{"renameat", "EIO"}, std::pair{"getdents64", "EIO"},
                                         std::pair{"openat2", "EIO"}, std::pair{"statx", "EIO"},
                                         std::pair{"pread64", "EIO"}, std::pair{"flistxattr", "EIO"},
                                         std::pair{"openat", "EMFILE"}),
                         [](const auto& one) { return std::string(one.param.first); });

// The same for restore: what could not be given back is named (3), or all of it stays hidden (1), and the
// same command makes that whole. 30 s.
TEST_F(BackupKills, CallsThatFailARestoreAreTold) {
  VS_STOP_IF(injection_impossible());
  const Place place = copy("s");
  ASSERT_EQ(run(command(place, "create")).exit_code, 0);
  const auto expected = everything_of(host_.trees());
  const auto restore_to = [&](const std::string& target) {
    return command(place, "restore", {"--target", target, "-j", "1", "--all"});
  };
  int n = 0;
  for (const auto& [syscall, error] : {std::pair{"mkdirat", "ENOSPC"},
                                       {"openat", "EIO"},
                                       {"openat2", "EIO"},
                                       {"pwrite64", "ENOSPC"},
                                       {"pread64", "EIO"},
                                       {"fchownat", "EPERM"},
                                       {"chmod", "EIO"},
                                       {"setxattr", "ENOSPC"},
                                       {"utimensat", "EIO"},
                                       {"linkat", "EMLINK"},
                                       {"symlinkat", "ENOSPC"},
                                       {"mknodat", "EPERM"},
                                       {"ioctl", "EIO"},
                                       {"syncfs", "EIO"},
                                       {"fsync", "EIO"},
                                       {"renameat", "EIO"},
                                       {"renameat2", "EIO"}}) {
    const std::string first = host_.scratch("ordinals" + std::to_string(n));
    int told = 0;
    for (const unsigned ordinal :
         sample(call_ordinals(restore_to(first), syscall, {first, place.set, "/proc/self/fd/"}), 4)) {
      const std::string target = host_.scratch("t" + std::to_string(n++));
      const RunResult result = run(with_injection(restore_to(target), syscall, std::string("error=") + error,
                                                  std::to_string(ordinal)));
      const std::string when = std::string(syscall) + " " + std::to_string(ordinal) + "\n" + result.err;
      EXPECT_THAT(result.exit_code, testing::AnyOf(0, 1, 2, 3)) << when;
      told += result.exit_code != 0 ? 1 : 0;
      const auto restored = [&] {
        return difference(expected,
                          everything_of({{"alpha", target + "/alpha"}, {"beta", target + "/beta"}}));
      };
      if (result.exit_code == 0) {
        EXPECT_EQ(restored(), "") << "not told: " << when;
      } else if (result.exit_code == 3) {
        EXPECT_THAT(result.err, testing::AnyOf(HasSubstr(target), HasSubstr(place.set)))
            << "it names no file: " << when;
      } else {
        EXPECT_THAT(result.err, HasSubstr("vbackup: error: ")) << when;
        // Nothing bears its name unless all of it is there.
        if (!fs::exists(target + "/.vbackup-restore/.complete")) {
          EXPECT_FALSE(fs::exists(target + "/alpha") || fs::exists(target + "/beta")) << when;
        }
        const RunResult again = run(restore_to(target));
        EXPECT_EQ(again.exit_code, 0) << when << again.err;
        EXPECT_EQ(restored(), "") << when;
      }
    }
    EXPECT_GT(told, 0) << "no failing " << syscall << " was told of";
  }
}

}  // namespace
}  // namespace vs::test
