// What is mounted in a guest's tree, project ids, and disks that cannot be read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>

#include "tests/backup/backup_host.h"
#include "tests/support/skip.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class Mounted {
 public:
  Mounted(const std::string& what, const std::string& where, const std::string& type, unsigned long flags)
      : where_(where) {
    fs::create_directories(where);
    if (::mount(what.c_str(), where.c_str(), type.c_str(), flags, nullptr) != 0)
      throw std::runtime_error("cannot mount on " + where);
  }
  ~Mounted() { ::umount2(where_.c_str(), MNT_DETACH); }
  Mounted(const Mounted&) = delete;

 private:
  std::string where_;
};

bool one_inode(const std::string& a, const std::string& b) {
  return fs::equivalent(a, b);
}

TEST(BackupCrossMounts, EntersFilesystemsOfADiskWhenAskedAndNothingElse) {
  VS_NEEDS_FILESYSTEM("ext4");
  LoopFilesystem own("ext4", 64), other("ext4", 64);
  const std::string alpha = own.path() + "/trees/alpha";
  // Both are new, so their files have the same inode numbers: a link of one must not become a link of the
  // other.
  must_run({"bash", "-c",
            "mkdir -p '" + alpha + "' '" + own.path() + "/trees/beta' && cd '" + alpha +
                "' && echo own > one && ln one two && mkdir -p srv mem && cd '" + other.path() +
                "' && mkdir -p data/sub && echo theirs > data/one && ln data/one data/sub/two && echo alone "
                "> data/alone && chown 33:44 data/alone"});
  BackupHost host(own.path() + "/trees");
  const Mounted bind(other.path() + "/data", alpha + "/srv", "", MS_BIND);
  const Mounted memory("tmpfs", alpha + "/mem", "tmpfs", 0);
  write_file(alpha + "/mem/volatile", "x");
  ASSERT_EQ(host.create().exit_code, 0);
  BackupHost::let_clock_pass();
  auto trees = host.restored("without");
  EXPECT_TRUE(fs::is_empty(trees.at("alpha") + "/srv"));
  const RunResult crossed = host.create({"--cross-mounts", "--json"});
  ASSERT_EQ(crossed.exit_code, 0) << crossed.err;
  trees = host.restored("with");
  const std::string& back = trees.at("alpha");
  EXPECT_EQ(read_file(back + "/srv/one"), "theirs\n");
  EXPECT_EQ(read_file(back + "/one"), "own\n");
  EXPECT_TRUE(one_inode(back + "/srv/one", back + "/srv/sub/two"));
  EXPECT_TRUE(one_inode(back + "/one", back + "/two"));
  EXPECT_FALSE(one_inode(back + "/one", back + "/srv/one"));
  struct stat alone;
  ASSERT_EQ(::stat((back + "/srv/alone").c_str(), &alone), 0);
  EXPECT_EQ(alone.st_gid, 44u);
  EXPECT_TRUE(fs::is_empty(back + "/mem"));
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
  const RunResult again = host.create({"--cross-mounts", "--json", "--verify-sample", "0"});
  EXPECT_EQ(summary_number(again, "files_read"), 0u) << again.out;
  EXPECT_EQ(
      run(host.command("create", {"--cross-mounts", "--consistency", "snapshot", "--tree", "alpha=" + alpha}))
          .exit_code,
      2);
}

// A host whose guest alpha is on overlayfs.
struct OverlayHost {
  explicit OverlayHost(const std::string& options) {
    fs::create_directories(host.tree("alpha"));
    fs::create_directories(host.tree("beta"));
    must_run({"mount", "-t", "overlay", "overlay", "-o", options, host.tree("alpha")});
  }
  ~OverlayHost() { ::umount2(host.tree("alpha").c_str(), MNT_DETACH); }
  OverlayHost(const OverlayHost&) = delete;
  BackupHost host;
};

// Layers on filesystems of their own: the device of a file is not that of its directory.
TEST(BackupOverlay, EachLayerIsStored) {
  VS_NEEDS_FILESYSTEM("ext4");
  VS_NEEDS_FILESYSTEM("xfs");
  LoopFilesystem lower("xfs", 300), upper("ext4", 64);
  must_run({"bash", "-c",
            "mkdir -p '" + lower.path() + "/l/etc' '" + upper.path() + "/u/usr' '" + upper.path() +
                "/work' && echo lower > '" + lower.path() + "/l/etc/low' && ln '" + lower.path() +
                "/l/etc/low' '" + lower.path() + "/l/etc/low2' && echo upper > '" + upper.path() +
                "/u/usr/up' && ln '" + upper.path() + "/u/usr/up' '" + upper.path() + "/u/usr/up2'"});
  OverlayHost overlay("lowerdir=" + lower.path() + "/l,upperdir=" + upper.path() +
                      "/u,workdir=" + upper.path() + "/work");
  const BackupHost& host = overlay.host;
  ASSERT_EQ(host.create().exit_code, 0);
  BackupHost::let_clock_pass();
  ASSERT_EQ(host.create().exit_code, 0);
  const auto trees = host.restored("r");
  const std::string& back = trees.at("alpha");
  EXPECT_EQ(read_file(back + "/etc/low"), "lower\n");
  EXPECT_EQ(read_file(back + "/etc/low2"), "lower\n");
  EXPECT_EQ(read_file(back + "/usr/up"), "upper\n");
  EXPECT_TRUE(one_inode(back + "/usr/up", back + "/usr/up2"));
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
}

// With xino=on the layer is in the highest bits of inode numbers: two layers of new filesystems have the same
// ones but for these.
TEST(BackupOverlay, InodeNumbersAreToldApartByAllOfTheirBits) {
  VS_NEEDS_FILESYSTEM("xfs");
  LoopFilesystem first("xfs", 300), second("xfs", 300);
  for (const auto& [disk, letter] : {std::pair{&first, 'a'}, std::pair{&second, 'b'}})
    must_run({"bash", "-c",
              std::string("mkdir -p '") + disk->path() + "/l' '" + disk->path() + "/u' '" + disk->path() +
                  "/w' && cd '" + disk->path() + "/l' && echo " + letter + " > " + letter + "1 && ln " +
                  letter + "1 " + letter + "2"});
  OverlayHost overlay("xino=on,lowerdir=" + first.path() + "/l:" + second.path() +
                      "/l,upperdir=" + first.path() + "/u,workdir=" + first.path() + "/w");
  const BackupHost& host = overlay.host;
  ASSERT_EQ(host.create().exit_code, 0);
  const std::string back = host.restored("r").at("alpha");
  for (const char* name : {"a1", "a2", "b1", "b2"})
    EXPECT_EQ(read_file(back + "/" + name), std::string(1, name[0]) + "\n") << name;
}

TEST(BackupSubvolumes, InsideOfATreeArePartOfIt) {
  VS_NEEDS_FILESYSTEM("btrfs");
  LoopFilesystem disk("btrfs", 300);
  const std::string alpha = disk.path() + "/trees/alpha";
  must_run({"bash", "-c",
            "mkdir '" + disk.path() + "/trees' '" + disk.path() + "/trees/beta' && cd '" + disk.path() +
                "/trees' && btrfs -q subvolume create alpha && echo own > alpha/one && ln alpha/one "
                "alpha/two && btrfs -q subvolume create alpha/srv && echo theirs > alpha/srv/one && ln "
                "alpha/srv/one alpha/srv/two && btrfs -q subvolume create alpha/srv/deep && echo deep > "
                "alpha/srv/deep/file"});
  BackupHost host(disk.path() + "/trees");
  for (const char* consistency : {"auto", "live"}) {
    const RunResult result = host.create({"--consistency", consistency, "--full"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const std::string back = host.restored(consistency).at("alpha");
    EXPECT_EQ(read_file(back + "/one"), "own\n");
    EXPECT_EQ(read_file(back + "/srv/one"), "theirs\n");
    EXPECT_TRUE(one_inode(back + "/srv/one", back + "/srv/two"));
    EXPECT_FALSE(one_inode(back + "/srv/one", back + "/one"));
    EXPECT_EQ(read_file(back + "/srv/deep/file"), "deep\n");
    BackupHost::let_clock_pass();
  }
  const RunResult snapshot = host.create({"--consistency", "snapshot"});
  EXPECT_EQ(snapshot.exit_code, 1) << snapshot.err;
  EXPECT_THAT(snapshot.err, HasSubstr("has subvolumes inside"));
  const RunResult without = host.create({"--no-subvolumes", "--json"});
  EXPECT_EQ(without.exit_code, 0) << without.err;
  EXPECT_EQ(summary_number(without, "subvolumes_left_out"), 1u) << without.out;
  EXPECT_TRUE(fs::is_empty(host.restored("without").at("alpha") + "/srv"));
}

// ext4 has project ids only where the kernel has quotas; tests/vm/backup_quota.sh runs these where it has.
class BackupProjects : public testing::TestWithParam<const char*> {
 protected:
  bool ext4() const { return std::string(GetParam()) == "ext4"; }
  // Nothing where the kernel cannot mount one.
  std::unique_ptr<LoopFilesystem> filesystem(const std::string& mount_options) const {
    try {
      return std::make_unique<LoopFilesystem>(GetParam(), ext4() ? 64 : 300,
                                              ext4() ? "-O quota,project -E quotatype=prjquota" : "",
                                              mount_options);
    } catch (const std::exception&) {
      return nullptr;
    }
  }
};

TEST_P(BackupProjects, AreGivenBack) {
  VS_NEEDS_FILESYSTEM(GetParam());
  auto disk = filesystem("prjquota");
  const bool quota = disk != nullptr;
  if (!quota) disk = filesystem("");
  if (!disk)
    VS_SKIP(kKernel) << "ext4 has project ids only where the kernel has quotas, and this one has not";
  const std::string alpha = disk->path() + "/trees/alpha";
  must_run({"bash", "-c",
            "mkdir -p '" + alpha + "/d' '" + disk->path() + "/trees/beta' && cd '" + alpha +
                "' && chattr -p 4711 d && head -c 2000000 /dev/urandom > d/file && chattr -p 4711 d/file && "
                "echo x > other && chattr -p 12 other"});
  ASSERT_THAT(must_run({"lsattr", "-p", alpha + "/d/file"}), HasSubstr("4711"));
  if (ext4()) must_run({"chattr", "+P", alpha + "/d"});
  BackupHost host(disk->path() + "/trees");
  ASSERT_EQ(host.create().exit_code, 0);
  const auto trees = host.restored("r");
  EXPECT_EQ(difference(everything_of(host.trees()), everything_of(trees)), "");
  EXPECT_THAT(must_run({"lsattr", "-p", trees.at("alpha") + "/d/file"}), HasSubstr("4711"));
  EXPECT_THAT(must_run({"lsattr", "-pd", trees.at("alpha") + "/d"}), HasSubstr("4711"));
  EXPECT_THAT(must_run({"lsattr", "-p", trees.at("alpha") + "/other"}), HasSubstr(" 12 "));
  if (!quota) return;
  // Both copies are counted for the project: 2 * 2,000,000 bytes, in KiB.
  const std::string used = must_run(
      {"bash", "-c", "sync; repquota -Pn '" + disk->path() + "' | awk '$1 == \"#4711\" { print $3 }'"});
  EXPECT_GE(std::stoul(used), 3900u);
  EXPECT_LE(std::stoul(used), 4100u);
}

TEST_P(BackupProjects, ARestoreWithoutQuotaLeftSaysSoAndIsWholeOnceThereIs) {
  VS_NEEDS_FILESYSTEM(GetParam());
  if (ext4()) VS_SKIP(kKernel) << "root, who restores, is not held to limits on ext4";
  const auto disk = filesystem("prjquota");
  if (!disk) VS_SKIP(kKernel) << "this kernel has no project quota on " << GetParam();
  BackupHost host(disk->path() + "/trees");
  // The first copy is counted for the project: for a second one there is half of the room.
  const std::string target = disk->path() + "/target", set_quota = "setquota -P 99 0 ";
  must_run({"bash", "-c",
            "mkdir -p '" + host.tree("alpha") + "' '" + host.tree("beta") +
                "' && head -c 6000000 /dev/urandom > '" + host.tree("alpha") + "/file' && chattr -p 99 '" +
                host.tree("alpha") + "/file' && " + set_quota + "9000 0 0 '" + disk->path() + "'"});
  ASSERT_EQ(host.create().exit_code, 0);
  const RunResult full = host.vbackup("restore", {"--target", target, "--all"});
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_THAT(full.err, testing::AnyOf(HasSubstr("write " + target + "/alpha/file: Disk quota exceeded"),
                                       HasSubstr("write " + target + "/alpha/file: No space left")));
  must_run({"bash", "-c", set_quota + "0 0 0 '" + disk->path() + "'"});
  const RunResult again = host.vbackup("restore", {"--target", target, "--all"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(read_file(target + "/alpha/file"), read_file(host.tree("alpha") + "/file"));
}

INSTANTIATE_TEST_SUITE_P(Filesystems, BackupProjects, testing::Values("ext4", "xfs"),
                         [](const auto& one) { return std::string(one.param); });

// A disk whose end is gone: what lies there gives EIO, as a bad sector would.
TEST(BackupReadErrors, AreNamedTheRestGoesOnAndTheExitCodeIsThree) {
  VS_NEEDS_FILESYSTEM("ext4");
  TempDir dir;
  const std::string image = dir / "image", mount = dir / "mount";
  must_run({"bash", "-c",
            "set -e; mkdir '" + mount + "'; truncate -s 96M '" + image +
                "'; mkfs.ext4 -q -F -b 4096 -O ^has_journal '" + image + "'; mount -o loop,noatime '" +
                image + "' '" + mount + "'"});
  struct Unmount {
    std::string where;
    ~Unmount() { ::umount2(where.c_str(), MNT_DETACH); }
  } unmount{mount};
  must_run(
      {"bash", "-c",
       "set -e; cd '" + mount +
           "'; mkdir -p trees/alpha trees/beta; echo fine > trees/alpha/fine; echo fine > trees/beta/fine; "
           "head -c 1000000 /dev/urandom > trees/alpha/good; sync; fallocate -l 60M ballast; "
           "head -c 300000 /dev/urandom > trees/alpha/bad-small; head -c 9000000 /dev/urandom > "
           "trees/alpha/bad-large; sync; rm ballast; sync; echo 3 > /proc/sys/vm/drop_caches"});
  // The first block of any of the two is where the disk ends from now on.
  const std::string first =
      must_run({"bash", "-c",
                "cd '" + mount +
                    "/trees/alpha'; for f in bad-small bad-large; do filefrag -v $f | awk '$1 == \"0:\" { "
                    "sub(/\\.\\..*/, \"\", $4); print $4 }'; done | sort -n | head -n 1"});
  ASSERT_GT(std::stoull(first), 15'000u) << "not behind the ballast";
  must_run({"truncate", "-s", std::to_string(std::stoull(first) * 4096), image});
  BackupHost host(mount + "/trees");
  const RunResult result = host.create({"--json"});
  EXPECT_EQ(result.exit_code, 3) << result.out << result.err;
  EXPECT_THAT(result.err, HasSubstr("read " + mount + "/trees/alpha/bad-small: Input/output error"));
  EXPECT_THAT(result.err, HasSubstr("read " + mount + "/trees/alpha/bad-large: Input/output error"));
  EXPECT_EQ(summary_number(result, "failed"), 2u);
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
  must_run({vbackup_path(), "restore", "--to", host.set(), "--target", dir / "back", "--all", "--progress",
            "never"});
  EXPECT_EQ(read_file(dir / "back/alpha/good").size(), 1'000'000u);
  EXPECT_EQ(read_file(dir / "back/beta/fine"), "fine\n");
  EXPECT_FALSE(fs::exists(dir / "back/alpha/bad-small"));
  EXPECT_THAT(must_run({vbackup_path(), "show", "--to", host.set(), "alpha"}), Not(HasSubstr("bad-small")));
}

}  // namespace
}  // namespace vs::test
