// Guests that change while they are read: nothing of the host ends up in an archive, what is stored can be restored.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <thread>

#include "tests/backup/backup_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

std::string all_bytes(const std::string& set) { return must_run({"bash", "-c", "cd '" + set + "' && for f in *.tar.zst; do zstd -dcq $f; done | strings -n 8"}); }

TEST(HostileGuest, NothingOfTheHostGetsIntoAnArchive) {
  BackupHost host;
  host.make_guests();
  const std::string lure = host.scratch("host-etc");
  for (int i = 0; i < 20; ++i) write_file(lure + "/secret" + std::to_string(i), "CANARY-OF-THE-HOST must not be read");
  const std::string tree = host.tree("alpha");
  // A directory and files in it become symlinks to the host's, fifos and files again, without rest.
  const Process swapper({"bash", "-c", "cd '" + tree + "'; mkdir -p real; for i in $(seq 0 19); do echo mine > real/secret$i; done; while :; do ln -sfn '" + lure + "' link; mv -T real aside; mv -T link real; rm real; mv -T aside real; "
                                       "for i in 3 7 9; do rm -f real/secret$i; ln -s '" + lure + "/secret'$i real/secret$i; rm -f real/secret$i; mkfifo real/secret$i; rm -f real/secret$i; echo mine > real/secret$i; done; done"});
  const Process grower({"bash", "-c", "cd '" + tree + "'; while :; do head -c 100000 /dev/zero >> grows; truncate -s 1000 grows; echo x >> etc/one; rm -rf coming; mkdir coming; echo y > coming/y; head -c 6000000 /dev/zero > big; done"});
  for (int i = 0; i < 15; ++i) {
    const RunResult result = host.create({"--verify-sample", "2"});
    ASSERT_THAT(result.exit_code, testing::AnyOf(0, 3)) << result.err;
  }
  grower.signal_group(9);
  swapper.signal_group(9);
  EXPECT_THAT(all_bytes(host.set()), Not(HasSubstr("CANARY")));
  const RunResult check = host.vbackup("check");
  EXPECT_EQ(check.exit_code, 0) << check.out;
}

TEST(HostileGuest, ADirectoryOfAHundredThousandFiles) {
  BackupHost host;
  fs::create_directories(host.tree("beta"));
  must_run({"bash", "-c", "mkdir -p '" + host.tree("alpha") + "/many' && cd '" + host.tree("alpha") + "/many' && seq -f 'file-with-a-name-%06g' 100000 | xargs touch"});
  BackupHost::let_clock_pass();
  ASSERT_EQ(host.create().exit_code, 0);
  must_run({"bash", "-c", "cd '" + host.tree("alpha") + "/many' && rm file-with-a-name-05* && echo new > new"});
  ASSERT_EQ(host.create().exit_code, 0);
  const Everything before = everything_of(host.trees());
  EXPECT_EQ(difference(before, everything_of(host.restored("r"))), "");
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
  // Its directory list is longer than a pax header may be for bsdtar.
  const std::string target = host.scratch("tar");
  must_run({"bash", "-c", "mkdir '" + target + "' && cd '" + target + "' && for f in ../set/alpha-full*.zst ../set/alpha-inc*.zst; do tar --zstd --listed-incremental=/dev/null -xf $f; done && test $(ls alpha/many | wc -l) = 90001"});
}

TEST(HostileGuest, AFileThatCannotBeReadIsNamedAndTheRestGoesOn) {
  BackupHost host;
  host.make_guests();
  // Not even root may open a file in a directory of another user through a mount that fails; a fifo in the place of a scanned file is the nearest to a
  // read error that needs no device. What vanished is not an error.
  const Process remover({"bash", "-c", "cd '" + host.tree("beta") + "'; while :; do echo a > etc/vanishing; rm etc/vanishing; mkfifo etc/vanishing; rm etc/vanishing; done"});
  for (int i = 0; i < 10; ++i) EXPECT_EQ(host.create().exit_code, 0);
}

class Kills : public testing::Test {
 protected:
  // Runs `command` and kills it after a random part of `longest`.
  void kill_within(const Command& command, std::chrono::milliseconds longest) {
    Process process(command);
    std::this_thread::sleep_for(std::chrono::microseconds(random_() % static_cast<uint64_t>(std::chrono::microseconds(longest).count())));
    process.signal_group(9);
    process.wait();
  }
  std::mt19937_64 random_{42};
};

TEST_F(Kills, CreateKilledAtRandomInstantsLeavesWholeArchivesOnly) {
  BackupHost host;
  host.make_guests();
  Command create = host.command("create", {"--state", host.scratch("state")});
  for (const auto& [name, path] : host.trees()) create.insert(create.end(), {"--tree", name + "=" + path});
  for (int i = 0; i < 100; ++i) {
    write_file(host.tree("alpha") + "/etc/round", std::to_string(i));
    kill_within(create, std::chrono::milliseconds(250));
    if (i % 10 != 9) continue;
    if (!fs::exists(host.set() + "/vbackup.set")) continue;
    const RunResult check = host.vbackup("check");
    ASSERT_EQ(check.exit_code, 0) << "after kill " << i << "\n" << check.out << check.err;
  }
  const RunResult whole = run(create);
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  for (const auto& entry : fs::directory_iterator(host.set())) EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr(".part")));
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
  EXPECT_EQ(difference(everything_of(host.trees()), everything_of(host.restored("r"))), "");
}

TEST_F(Kills, RestoreKilledIsDoneAgainElsewhere) {
  BackupHost host;
  host.make_guests();
  ASSERT_EQ(host.create().exit_code, 0);
  for (int i = 0; i < 30; ++i) kill_within(host.command("restore", {"--target", host.scratch("k" + std::to_string(i)), "--all"}), std::chrono::milliseconds(300));
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
  EXPECT_EQ(difference(everything_of(host.trees()), everything_of(host.restored("r"))), "");
}

TEST_F(Kills, ForgetAndPruneKilledLeaveEveryListedStateRestorable) {
  BackupHost host;
  host.make_guests();
  for (int i = 0; i < 30; ++i) {
    write_file(host.tree("alpha") + "/etc/round", std::to_string(i));
    write_file(host.tree("alpha") + "/etc/pair", std::to_string(i));
    fs::remove(host.tree("beta") + "/etc/pair");
    fs::create_hard_link(host.tree("alpha") + "/etc/pair", host.tree("beta") + "/etc/pair");
    const RunResult made = host.create(i % 3 == 0 ? Command{"--full"} : Command{});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    if (i % 4 == 3) {
      kill_within(host.command("forget", {"--keep-last", "2", "--prune"}), std::chrono::milliseconds(12));
      const RunResult check = host.vbackup("check");
      ASSERT_EQ(check.exit_code, 0) << "round " << i << "\n" << check.out << check.err;
    }
  }
  ASSERT_EQ(host.vbackup("forget", {"--keep-last", "2", "--prune"}).exit_code, 0);
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
  EXPECT_EQ(difference(everything_of(host.trees()), everything_of(host.restored("r"))), "");
}

}  // namespace
}  // namespace vs::test
