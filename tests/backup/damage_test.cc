// Torn and flipped archives: found, named, the rest usable, a rerun makes it whole.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "tests/backup/backup_host.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string file_of(const BackupHost& host, const std::string& prefix, const std::string& suffix) {
  for (const auto& entry : fs::directory_iterator(host.set()))
    if (const std::string name = entry.path().filename(); name.starts_with(prefix) && name.ends_with(suffix))
      return entry.path();
  return {};
}

void flip(const std::string& path, off_t at) {
  const int fd = ::open(path.c_str(), O_RDWR);
  unsigned char byte = 0;
  ASSERT_EQ(::pread(fd, &byte, 1, at), 1);
  byte ^= 0x08;  // not 0x10: in the descriptor of a frame that bit means nothing to zstd, and its bytes are
                 // what they were
  ASSERT_EQ(::pwrite(fd, &byte, 1, at), 1);
  ::close(fd);
}

class DamageTest : public testing::Test {
 protected:
  void SetUp() override {
    host_.make_guests();
    ASSERT_EQ(host_.create().exit_code, 0);
  }
  BackupHost host_;
};

TEST_F(DamageTest, AFlippedBitAnywhereIsFound) {
  std::mt19937 random(7);
  for (const auto& [prefix, suffix] : {std::pair{"alpha-full", ".tar.zst"},
                                       {"pool-1", ".tar.zst"},
                                       {"beta-full", ".tar.zst"},
                                       {"alpha-full", ".catalog"},
                                       {"pool-1", ".catalog"}}) {
    const std::string path = file_of(host_, prefix, suffix);
    const auto size = static_cast<off_t>(fs::file_size(path));
    const std::string stored = std::string_view(suffix) == ".tar.zst"
                                   ? must_run({"sh", "-c", "zstd -qdc \"$1\" | sha256sum", "sh", path})
                                   : "";
    for (int i = 0; i < 25; ++i) {
      const off_t at = i == 0   ? 0
                       : i == 1 ? size - 1
                                : static_cast<off_t>(random() % static_cast<uint64_t>(size));
      flip(path, at);
      const RunResult result = host_.vbackup("check");
      // A few bits mean nothing to zstd, as which of sixteen numbers a skippable frame has.
      if (result.exit_code == 0 && std::string_view(suffix) == ".tar.zst" &&
          must_run({"sh", "-c", "zstd -qdc \"$1\" | sha256sum", "sh", path}) == stored) {
        flip(path, at);
        continue;
      }
      EXPECT_EQ(result.exit_code, 1) << path << " byte " << at << "\n" << result.out << result.err;
      EXPECT_THAT(result.out, HasSubstr(fs::path(path).stem().stem().string())) << "it is named";
      flip(path, at);
    }
  }
  EXPECT_EQ(host_.vbackup("check").exit_code, 0);
}

TEST(DamageBehindASparseFile, IsFoundInPartsThatHoldNoFile) {
  BackupHost host;
  fs::create_directories(host.tree("beta"));
  write_file(host.tree("alpha") + "/a", "x");
  fs::resize_file(host.tree("alpha") + "/a", uintmax_t{1} << 40);
  std::mt19937 random(7);
  for (int i = 0; i < 3000; ++i)
    fs::create_symlink(std::to_string(random()) + std::to_string(random()),
                       host.tree("alpha") + "/z" + std::to_string(i));
  ASSERT_EQ(host.create().exit_code, 0);
  const std::string path = file_of(host, "alpha-full", ".tar.zst");
  // In the middle of the symbolic links.
  flip(path, static_cast<off_t>(fs::file_size(path) / 3));
  const RunResult check = host.vbackup("check");
  EXPECT_EQ(check.exit_code, 1) << check.out << check.err;
  EXPECT_THAT(check.out, HasSubstr("frame")) << "the catalog behind them is whole";
}

TEST_F(DamageTest, WhatIsNotDamagedIsRestored) {
  const std::string path = file_of(host_, "alpha-full", ".tar.zst");
  // In the middle of the large file, which is most of this archive.
  flip(path, static_cast<off_t>(fs::file_size(path) / 2));
  const Everything before = everything_of(host_.trees());
  const std::string target = host_.scratch("out");
  const RunResult result = host_.vbackup("restore", {"--target", target, "--all"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("alpha/large"));
  const Everything after = everything_of({{"alpha", target + "/alpha"}, {"beta", target + "/beta"}});
  for (const auto& [name, what] : before) {
    const bool damaged = name == "alpha/large" || name == "alpha/large2";
    EXPECT_EQ(after.contains(name) ? after.at(name) : "missing", damaged ? "missing" : what) << name;
  }
}

TEST_F(DamageTest, ATornArchiveIsToldAndItsBeginningIsUsed) {
  const std::string path = file_of(host_, "alpha-full", ".tar.zst");
  fs::resize_file(path, fs::file_size(path) - 5000);
  const RunResult check = host_.vbackup("check");
  EXPECT_EQ(check.exit_code, 1);
  EXPECT_THAT(check.out, HasSubstr("seek table"));
  const RunResult one = host_.vbackup("restore", {"--target", host_.scratch("out"), "alpha:large"});
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_EQ(read_file(host_.scratch("out/alpha/large")), read_file(host_.tree("alpha") + "/large"));
}

TEST_F(DamageTest, ALostCatalogIsReadFromWithin) {
  fs::remove(file_of(host_, "alpha-full", ".catalog"));
  const Everything before = everything_of(host_.trees());
  const std::string target = host_.scratch("out");
  const RunResult result = host_.vbackup("restore", {"--target", target, "--all"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(difference(before, everything_of({{"alpha", target + "/alpha"}, {"beta", target + "/beta"}})),
            "");
}

// A catalog that cannot be read, of an archive in whose place another one stands: what that has within is a
// whole catalog, and says nothing of this state.
class SwappedArchiveTest : public DamageTest {
 protected:
  void SetUp() override {
    DamageTest::SetUp();
    first_ = host_.last_stamp();
    BackupHost::let_clock_pass();
    write_file(host_.tree("alpha") + "/new", "bytes of the second night");
    fs::permissions(host_.tree("alpha"), fs::perms::owner_all);
    ASSERT_EQ(host_.create().exit_code, 0);
  }
  // Of the first one the catalog gets bytes that are none of it.
  void swap(const std::string& one, const std::string& other) {
    const std::string path = file_of(host_, one, ".tar.zst"), second = file_of(host_, other, ".tar.zst");
    const std::string catalog = file_of(host_, one, ".catalog");
    fs::rename(path, host_.scratch("aside"));
    fs::rename(second, path);
    fs::rename(host_.scratch("aside"), second);
    write_file(catalog, read_file(catalog) + "more");
  }
  std::string first_;
};

TEST_F(SwappedArchiveTest, ItsCatalogIsNotTakenForThatOfTheStateThatIsAskedFor) {
  swap("alpha-inc", "pool-1");
  const RunResult restore = host_.vbackup("restore", {"--target", host_.scratch("out"), "alpha"});
  EXPECT_EQ(restore.exit_code, 2) << "not the state of the first night under the second one's name\n"
                                  << restore.out << restore.err;
  EXPECT_THAT(restore.err, HasSubstr("describes pool-1"));
  EXPECT_FALSE(fs::exists(host_.scratch("out/alpha")));
  EXPECT_EQ(host_.vbackup("dump", {"alpha:secret"}).exit_code, 2);
  EXPECT_EQ(host_.vbackup("diff", {"alpha@" + first_, "alpha"}).exit_code, 2);
  const RunResult check = host_.vbackup("check");
  EXPECT_EQ(check.exit_code, 1);
  EXPECT_THAT(check.out, HasSubstr("describes pool-1"));
}

TEST_F(SwappedArchiveTest, PruningRemovesNothing) {
  swap("alpha-full", "beta-full");
  const RunResult prune = host_.vbackup("prune");
  EXPECT_EQ(prune.exit_code, 1) << prune.out << prune.err;
  EXPECT_THAT(prune.err, HasSubstr("nothing was removed"));
  EXPECT_NE(file_of(host_, "pool-1", ".tar.zst"), "");
}

TEST_F(SwappedArchiveTest, TheNextNightBuildsOnNothingOfIt) {
  swap("alpha-inc", "alpha-full");
  BackupHost::let_clock_pass();
  const RunResult result = host_.create();
  EXPECT_NE(result.exit_code, 1) << result.err;
  const Everything before = everything_of(host_.trees());
  EXPECT_EQ(difference(before, everything_of(host_.restored("again"))), "");
}

TEST_F(DamageTest, ALostPoolArchiveIsMadeAgainByTheNextFull) {
  fs::remove(file_of(host_, "pool-1", ".tar.zst"));
  const RunResult check = host_.vbackup("check");
  EXPECT_EQ(check.exit_code, 1);
  EXPECT_THAT(check.out, HasSubstr("alpha:usr/bin/program"));
  ASSERT_EQ(host_.create().exit_code, 0);
  const Everything before = everything_of(host_.trees());
  EXPECT_EQ(difference(before, everything_of(host_.restored("again"))), "");
}

TEST_F(DamageTest, ALostIndexCostsOnlyReading) {
  fs::remove_all(host_.scratch("state"));
  const RunResult result = host_.create({"--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_FALSE(fs::exists(host_.set() + "/pool-2.tar.zst"))
      << "what the pool has is found again by what it is";
}

TEST_F(DamageTest, ADamagedIndexIsToldAndBegunAnew) {
  const std::string index = host_.scratch("state") + "/inodes.mdb", whole = read_file(index);
  std::mt19937 random(7);
  std::string noise(100'000, '\0');
  for (char& byte : noise) byte = static_cast<char>(random());
  std::string holed = whole;
  holed.replace(8192, std::min<size_t>(200'000, whole.size() - 8192), noise, 0,
                std::min<size_t>(noise.size(), whole.size() - 8192));
  for (const std::string& bytes : {noise, holed, whole.substr(0, whole.size() / 2), std::string("torn")}) {
    BackupHost::let_clock_pass();
    write_file(index, bytes);
    const RunResult result = host_.create();
    EXPECT_EQ(result.exit_code, 0) << shown(result);
    EXPECT_THAT(result.err, HasSubstr("warning: inode index " + index + ": open: "));
    EXPECT_EQ(read_file(index + ".damaged"), bytes);
    const RunResult next = host_.create({"--json"});
    EXPECT_EQ(next.exit_code, 0) << shown(next);
    EXPECT_EQ(next.err, "");
    EXPECT_GT(summary_number(next, "known"), 20u) << "what was read is known again";
  }
  EXPECT_EQ(host_.vbackup("check").exit_code, 0);
}

TEST_F(DamageTest, WithoutAnIndexTheArchivesAreMadeAndWhatIsNotKeptIsTold) {
  fs::remove_all(host_.scratch("state"));
  fs::create_directories(host_.scratch("state") + "/inodes.mdb");
  const RunResult result = host_.create();
  EXPECT_EQ(result.exit_code, 3) << shown(result);
  EXPECT_THAT(result.err, HasSubstr("not remembered"));
  EXPECT_EQ(difference(everything_of(host_.trees()), everything_of(host_.restored("r"))), "");
}

TEST_F(DamageTest, LeftoversOfAKilledRunAreSwept) {
  write_file(host_.set() + "/.vbackup-20200101T000000Z-alpha-inc-20200101T000000Z.tar.zst.part", "half");
  write_file(host_.set() + "/gamma-full-20200101T000000Z.catalog", "an archive was to follow");
  ASSERT_EQ(host_.create().exit_code, 0);
  EXPECT_EQ(file_of(host_, ".vbackup-", ""), "");
  EXPECT_EQ(file_of(host_, "gamma", ""), "");
}

TEST_F(DamageTest, ASecondRunAtTheSameTimeIsToldSo) {
  const int fd = ::open((host_.set() + "/.lock").c_str(), O_RDWR | O_CLOEXEC);
  const RunResult result = run({"flock", host_.set() + "/.lock", "bash", "-c",
                                "'" + vbackup_path() + "' create --to '" + host_.set() + "' --state '" +
                                    host_.scratch("state") + "' --tree alpha='" + host_.tree("alpha") + "'"});
  ::close(fd);
  EXPECT_EQ(result.exit_code, 11) << result.err;
}

}  // namespace
}  // namespace vs::test
