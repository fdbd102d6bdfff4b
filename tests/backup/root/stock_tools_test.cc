// The same sets restored with stock GNU tar and bsdtar, by what README.txt says and nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/xattr.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/backup/backup_host.h"
#include "tests/support/skip.h"
#include "tests/support/tree_snapshot.h"

namespace vs::test {
namespace {

std::vector<std::string> archives_of(const std::string& set, const std::string& prefix,
                                     const std::string& up_to) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(set)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(prefix) && name.ends_with(".tar.zst") &&
        (up_to.empty() || name.substr(name.size() - 24, 16) <= up_to))
      found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end(),
            [](const auto& a, const auto& b) { return a.substr(a.size() - 24) < b.substr(b.size() - 24); });
  return found;
}

// The commands of README.txt: what it calls $tar, for the pool, the full, the incrementals.
void restore_by_readme(const BackupHost& host, const std::string& target, const std::string& time,
                       bool bsdtar) {
  std::filesystem::create_directories(target);
  const std::string readme = read_file(host.set() + "/README.txt");
  const std::string marker = "tar='";
  const size_t at = readme.find(marker) + marker.size();
  const std::string tar = readme.substr(at, readme.find('\'', at) - at);
  ASSERT_TRUE(tar.starts_with("tar --zstd"));
  ASSERT_NE(readme.find("--listed-incremental=/dev/null"), std::string::npos);
  const auto extract = [&](const std::string& file, const std::string& more) {
    const std::string command = bsdtar ? "bsdtar --numeric-owner -xpf '" + file + "'"
                                       : tar + " --acls " + more + " -f '" + file + "'";
    const RunResult result = run({"bash", "-fc", "cd '" + target + "' && " + command});
    EXPECT_EQ(result.exit_code, 0) << command << "\n" << result.err;
  };
  for (const auto& file : archives_of(host.set(), "pool-", "")) extract(file, "");
  for (const std::string guest : {"alpha", "beta"}) {
    for (const auto& file : archives_of(host.set(), guest + "-full-", time)) extract(file, "");
    for (const auto& file : archives_of(host.set(), guest + "-inc-", time))
      extract(file, "--listed-incremental=/dev/null");
  }
}

// What stock tools give back: not sockets, flags, names of attributes with '='; times of directories are what
// an unlink left.
TreeSnapshot expected_of(const std::string& tree) {
  TreeSnapshot snapshot = snapshot_of(tree);
  std::erase_if(snapshot, [](const auto& one) { return one.second.type == 's'; });
  for (auto& [path, entry] : snapshot) entry.xattrs.erase("user.equal=sign");
  return snapshot;
}

class StockTools : public testing::Test {
 protected:
  void SetUp() override {
    host_.make_guests();
    // GNU tar 1.34 itself cannot go this deep; the paths beyond 4096 are for vbackup.
    remove_tree(host_.tree("alpha") + "/deep");
    std::filesystem::create_directories(host_.tree("alpha") + "/deep");
    for (int round = 0; round <= 3; ++round) {
      if (round > 0) host_.change(round);
      const RunResult result = host_.create();
      ASSERT_EQ(result.exit_code, 0) << result.err;
      stamps_.push_back(host_.last_stamp());
      snapshots_.push_back({expected_of(host_.tree("alpha")), expected_of(host_.tree("beta"))});
    }
  }
  BackupHost host_;
  std::vector<std::string> stamps_;
  std::vector<std::pair<TreeSnapshot, TreeSnapshot>> snapshots_;
};

TEST_F(StockTools, GnuTarGivesBackEveryTime) {
  for (size_t i = 0; i < stamps_.size(); ++i) {
    const std::string target = host_.scratch("tar" + std::to_string(i));
    restore_by_readme(host_, target, stamps_[i], false);
    EXPECT_EQ(difference_text(snapshots_[i].first, snapshot_of(target + "/alpha"), Links::exact), "")
        << "round " << i;
    EXPECT_EQ(difference_text(snapshots_[i].second, snapshot_of(target + "/beta"), Links::exact), "")
        << "round " << i;
  }
}

TEST_F(StockTools, BsdtarGivesBackTheFull) {
  VS_NEEDS_PROGRAM("bsdtar", "libarchive-tools");
  const std::string target = host_.scratch("bsdtar");
  snapshots_[0].first["etc/two"].mtime_ns =
      TreeEntry::kAnyTime;  // bsdtar 3.6 misreads fractions of seconds before 1970
  restore_by_readme(host_, target, stamps_[0], true);
  EXPECT_EQ(difference_text(snapshots_[0].first, snapshot_of(target + "/alpha"), Links::exact), "");
  EXPECT_EQ(difference_text(snapshots_[0].second, snapshot_of(target + "/beta"), Links::exact), "");
}

TEST_F(StockTools, ZstdSeesWholeFrames) {
  for (const auto& file : archives_of(host_.set(), "", ""))
    EXPECT_EQ(run({"zstd", "-tq", file}).exit_code, 0) << file;
}

// xfs holds any number of attributes; libarchive reads 1 MiB of one inode's.
TEST(StockToolsTest, MoreAttributesThanLibarchiveTakesLoseNothing) {
  VS_NEEDS_FILESYSTEM("xfs");
  VS_NEEDS_PROGRAM("bsdtar", "libarchive-tools");
  LoopFilesystem filesystem("xfs", 600);
  BackupHost host(filesystem.path() + "/trees");
  write_file(host.tree("alpha") + "/aa", "first");
  write_file(host.tree("alpha") + "/fork", "its bytes");
  write_file(host.tree("alpha") + "/dir/last", "last");
  write_file(host.tree("beta") + "/file", "x");
  const std::string value(60'000, 'v');
  for (const char* name : {"/fork", "/dir"})
    for (int i = 0; i < 20; ++i)
      ASSERT_EQ(::setxattr((host.tree("alpha") + name).c_str(), ("user.n" + std::to_string(i)).c_str(),
                           value.data(), value.size(), 0),
                0);
  ASSERT_EQ(host.create().exit_code, 0);
  // An incremental too, with a list of the directory.
  write_file(host.tree("alpha") + "/dir/zz", "more");
  ASSERT_EQ(host.create().exit_code, 0);
  EXPECT_EQ(difference(everything_of(host.trees()), everything_of(host.restored("r"))), "");
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
  for (const bool bsdtar : {false, true}) {
    const std::string target = host.scratch(bsdtar ? "bsdtar" : "tar");
    std::filesystem::create_directory(target);
    for (const auto& file : archives_of(host.set(), "alpha-", "")) {
      // Attributes apart: the filesystem of the target may not hold them.
      const RunResult result =
          run({"bash", "-c",
               "cd '" + target + "' && " + (bsdtar ? "bsdtar --no-xattrs" : "tar --zstd --no-xattrs") +
                   " -xf '" + file + "'"});
      EXPECT_EQ(result.exit_code, 0) << result.err;
    }
    EXPECT_EQ(read_file(target + "/alpha/fork"), "its bytes");
    EXPECT_EQ(read_file(target + "/alpha/dir/last") + read_file(target + "/alpha/dir/zz"), "lastmore");
  }
}

TEST(StockToolsTest, ASingleArchiveIsRestoredByOneCommand) {
  BackupHost host;
  host.make_guests();
  remove_tree(host.tree("alpha") + "/deep");
  ASSERT_EQ(run({vbackup_path(), "create", "--init", "--single", host.scratch("one.tar.zst"), "--state",
                 host.scratch("state"), "--tree", "alpha=" + host.tree("alpha")})
                .exit_code,
            0);
  const TreeSnapshot expected = expected_of(host.tree("alpha"));
  const RunResult result =
      run({"bash", "-fc",
           "mkdir '" + host.scratch("out") + "' && cd '" + host.scratch("out") +
               "' && tar --zstd --numeric-owner -p --acls --xattrs --xattrs-include=* -xf ../one.tar.zst"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(difference_text(expected, snapshot_of(host.scratch("out/alpha")), Links::exact), "");
}

}  // namespace
}  // namespace vs::test
