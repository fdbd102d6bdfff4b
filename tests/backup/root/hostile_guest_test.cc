// Guests that change while they are read: nothing of the host ends up in an archive, what is stored can be
// restored.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/backup/backup_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

std::string all_bytes(const std::string& set) {
  return must_run(
      {"bash", "-c", "cd '" + set + "' && for f in *.tar.zst; do zstd -dcq $f; done | strings -n 8"});
}

TEST(HostileGuest, NothingOfTheHostGetsIntoAnArchive) {
  BackupHost host;
  host.make_guests();
  const std::string lure = host.scratch("host-etc");
  for (int i = 0; i < 20; ++i)
    write_file(lure + "/secret" + std::to_string(i), "CANARY-OF-THE-HOST must not be read");
  const std::string tree = host.tree("alpha");
  // A directory and files in it become symlinks to the host's, fifos and files again, without rest.
  const Process swapper({"bash", "-c",
                         "cd '" + tree +
                             "'; mkdir -p real; for i in $(seq 0 19); do echo mine > real/secret$i; done; "
                             "while :; do ln -sfn '" +
                             lure +
                             "' link; mv -T real aside; mv -T link real; rm real; mv -T aside real; "
                             "for i in 3 7 9; do rm -f real/secret$i; ln -s '" +
                             lure +
                             "/secret'$i real/secret$i; rm -f real/secret$i; mkfifo real/secret$i; rm -f "
                             "real/secret$i; echo mine > real/secret$i; done; done"});
  const Process grower(
      {"bash", "-c",
       "cd '" + tree +
           "'; while :; do head -c 100000 /dev/zero >> grows; truncate -s 1000 grows; echo x >> etc/one; rm "
           "-rf coming; mkdir coming; echo y > coming/y; head -c 6000000 /dev/zero > big; done"});
  for (int i = 0; i < 15; ++i) {
    const RunResult result = host.create({"--verify-sample", "2"});
    ASSERT_THAT(result.exit_code, testing::AnyOf(0, 3)) << result.err;
  }
  EXPECT_TRUE(grower.running() && swapper.running()) << "the guests changed to the end";
  grower.signal_group(9);
  swapper.signal_group(9);
  EXPECT_THAT(all_bytes(host.set()), Not(HasSubstr("CANARY")));
  const RunResult check = host.vbackup("check");
  EXPECT_EQ(check.exit_code, 0) << check.out;
  // The harness: of a file of the guest's own they would be found.
  write_file(tree + "/own", "CANARY-OF-THE-HOST, but as the guest's own file");
  ASSERT_EQ(host.create().exit_code, 0);
  EXPECT_THAT(all_bytes(host.set()), HasSubstr("CANARY"));
}

TEST(HostileGuest, ADirectoryOfAHundredThousandFiles) {
  BackupHost host;
  fs::create_directories(host.tree("beta"));
  must_run({"bash", "-c",
            "mkdir -p '" + host.tree("alpha") + "/many' && cd '" + host.tree("alpha") +
                "/many' && seq -f 'file-with-a-name-%06g' 100000 | xargs touch"});
  BackupHost::let_clock_pass();
  ASSERT_EQ(host.create().exit_code, 0);
  must_run(
      {"bash", "-c", "cd '" + host.tree("alpha") + "/many' && rm file-with-a-name-05* && echo new > new"});
  ASSERT_EQ(host.create().exit_code, 0);
  const Everything before = everything_of(host.trees());
  EXPECT_EQ(difference(before, everything_of(host.restored("r"))), "");
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
  // Its directory list is longer than a pax header may be for bsdtar.
  const std::string target = host.scratch("tar");
  must_run({"bash", "-c",
            "mkdir '" + target + "' && cd '" + target +
                "' && for f in ../set/alpha-full*.zst ../set/alpha-inc*.zst; do tar --zstd "
                "--listed-incremental=/dev/null -xf $f; done && test $(ls alpha/many | wc -l) = 90001"});
}

TEST(HostileGuest, WhatBecomesAnotherKindOfThingIsNamedAndTheRestGoesOn) {
  BackupHost host;
  host.make_guests();
  // Not even root may open a file in a directory of another user through a mount that fails; a fifo in the
  // place of a scanned file is the nearest to a read error that needs no device. What vanished is not an
  // error; what is there and was not stored is named.
  const Process remover({"bash", "-c",
                         "cd '" + host.tree("beta") +
                             "'; while :; do echo a > etc/vanishing; rm etc/vanishing; mkfifo etc/vanishing; "
                             "rm etc/vanishing; done"});
  for (int i = 0; i < 10; ++i) {
    const RunResult result = host.create();
    EXPECT_THAT(result.exit_code, testing::AnyOf(0, 3)) << result.err;
    if (result.exit_code == 3) {
      EXPECT_THAT(result.err, testing::HasSubstr("etc/vanishing became another kind of thing"));
    }
  }
  EXPECT_TRUE(remover.running()) << "it vanished and came back to the end";
}

}  // namespace
}  // namespace vs::test
