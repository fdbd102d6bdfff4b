// DISK: a vserver's own files are counted and limited, what it shares is not.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>

#include "core/unique_fd.h"
#include "isolation/trees/project_quota.h"
#include "tests/isolation/root/attempts.h"
#include "tests/isolation/root/isolation_host.h"
#include "tests/support/deep_tree.h"
#include "tests/support/skip.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class DiskTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    VS_NEEDS_FILESYSTEM(GetParam());
    const bool ext4 = GetParam() == std::string("ext4");
    try {
      disk_ = std::make_unique<LoopFilesystem>(
          GetParam(), 128, ext4 ? "-O quota,project -E quotatype=prjquota" : "", "prjquota");
    } catch (const std::exception& error) {
      VS_SKIP(kKernel) << "this kernel has no project quota on " << GetParam() << ": " << error.what();
    }
    host_ = std::make_unique<IsolationHost>(disk_->path());
  }
  std::string project_of(const std::string& path) {
    return must_run({"sh", "-c", "lsattr -p -d \"$1\" | awk '{print $1}'", "sh", path});
  }
  static uint32_t project_of(const UniqueFd& file) {
    fsxattr attributes{};
    EXPECT_EQ(::ioctl(file.get(), FS_IOC_FSGETXATTR, &attributes), 0);
    return attributes.fsx_projid;
  }
  // Directories and files that the filesystem counts as a project's.
  uint64_t inodes_of(uint32_t project) const {
    const UniqueFd top(::open(disk_->path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if_dqblk found{};
    EXPECT_EQ(::syscall(SYS_quotactl_fd, top.get(), QCMD(Q_GETQUOTA, PRJQUOTA), project, &found), 0);
    return found.dqb_curinodes;
  }
  // What a directory with one short name in it takes: a block of ext4; xfs keeps the name in the inode.
  uint64_t bytes_of_directory() const {
    struct statvfs disk {};
    EXPECT_EQ(::statvfs(disk_->path().c_str(), &disk), 0);
    return GetParam() == std::string("ext4") ? disk.f_frsize : 0;
  }
  std::unique_ptr<LoopFilesystem> disk_;
  std::unique_ptr<IsolationHost> host_;
};

TEST_P(DiskTest, LimitsWhatIsItsOwnAndLeavesWhatIsShared) {
  const auto guest = host_->add("guest", "DISK=20M\n"), other = host_->add("other", "");
  const std::string master = disk_->path() + "/master";
  must_run({"dd", "if=/dev/zero", "of=" + master, "bs=1M", "count=30", "status=none"});
  fs::create_hard_link(master, host_->tree(guest) + "/shared");
  set_immutable(master, true);
  const auto started = host_->vserver(guest, {"start"});
  EXPECT_EQ(started.exit_code, 0) << "30 MB that it shares do not count: " << shown(started);
  EXPECT_EQ(project_of(master), project_of(disk_->path())) << "and stay everybody's";
  EXPECT_NE(project_of(host_->tree(guest) + "/bin"), project_of(disk_->path()));
  EXPECT_EQ(host_->vserver(guest, {"exec", "sh", "-c", "head -c 5000000 /dev/zero > /tmp/fits"}).exit_code,
            0);
  const auto beyond =
      host_->vserver(guest, {"exec", "sh", "-c", "dd if=/dev/zero of=/tmp/beyond bs=64k count=600"});
  EXPECT_NE(beyond.exit_code, 0);
  EXPECT_THAT(beyond.err, testing::AnyOf(HasSubstr("quota"), HasSubstr("No space"))) << shown(beyond);
  EXPECT_LT(fs::file_size(host_->tree(guest) + "/tmp/beyond"), 20u << 20);
  EXPECT_THAT(host_->vserver(guest, {"status"}).out, testing::ContainsRegex("Disk: .* of 2[01]"));
  ASSERT_EQ(host_->vserver(other, {"start"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(other, {"exec", "sh", "-c", "head -c 30000000 /dev/zero > /tmp/more"}).exit_code,
            0)
      << "others have what there is";
  EXPECT_THAT(host_->vserver(other, {"status"}).out, Not(HasSubstr("Disk:")));
  set_immutable(master, false);
}

TEST_P(DiskTest, ATreeOfAnyDepthIsLimited) {
  const std::string tree = disk_->path() + "/deep";
  fs::create_directory(tree);
  const UniqueFd last = make_nested(tree, kDeep, "d");
  const FewDescriptors few;
  const auto limited = isolation::limit_disk(tree, "deep", 64 << 20);
  ASSERT_TRUE(limited) << limited.error().message;
  const uint32_t project = isolation::project_of_vserver("deep");
  EXPECT_EQ(project_of(last), project) << "the deepest counts";
  EXPECT_EQ(inodes_of(project), 1 + kDeep + kDeep / 100) << "the top, all below it, a file in each hundredth";
  const auto use = isolation::disk_use(tree, "deep");
  ASSERT_TRUE(use);
  EXPECT_EQ(use->used, (1 + kDeep) * bytes_of_directory()) << "the files are empty";
  EXPECT_EQ(use->limit, 64u << 20);
}

TEST_P(DiskTest, AGuestOfAnyDepthStartsAndIsDeleted) {
  const auto guest = host_->add("guest", "DISK=64M\n");
  UniqueFd last = make_nested(host_->tree(guest) + "/tmp", kDeep, "d");
  const FewDescriptors few;  // for vserver, too
  const auto started = host_->vserver(guest, {"start"});
  ASSERT_EQ(started.exit_code, 0) << shown(started);
  EXPECT_EQ(project_of(last), isolation::project_of_vserver(guest)) << "the deepest counts";
  last = UniqueFd();
  ASSERT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
  const auto deleted = host_->vserver(guest, {"delete"});
  EXPECT_EQ(deleted.exit_code, 0) << shown(deleted);
  EXPECT_FALSE(fs::exists(host_->tree(guest)));
}

TEST_P(DiskTest, RootInsideCannotLeaveIt) {
  const auto guest = host_->add("guest", "DISK=20M\n"), other = host_->add("other", "");
  for (const auto& name : {guest, other}) ASSERT_EQ(host_->vserver(name, {"start"}).exit_code, 0);
  EXPECT_EQ(outcome(host_->attack(other, {"leave-project", "/tmp"})), "WORKED")
      << "the harness: without DISK attributes may be changed";
  EXPECT_EQ(outcome(host_->attack(guest, {"leave-project", "/tmp"})), "EPERM");
  EXPECT_EQ(outcome(host_->attack(guest, {"leave-project", "/etc/passwd"})), "EPERM");
}

TEST_P(DiskTest, ANewLimitHoldsAtTheNextStartAndNoneTakesItAway) {
  const auto guest = host_->add("guest", "DISK=8M\n");
  ASSERT_EQ(host_->vserver(guest, {"start"}).exit_code, 0);
  const auto fill = [&] {
    return host_->vserver(guest, {"exec", "sh", "-c", "head -c 16000000 /dev/zero > /tmp/file"}).exit_code;
  };
  EXPECT_NE(fill(), 0);
  host_->configure(guest, "DISK=40M\n");
  ASSERT_EQ(host_->vserver(guest, {"restart"}).exit_code, 0);
  EXPECT_EQ(fill(), 0);
  host_->configure(guest, "");
  ASSERT_EQ(host_->vserver(guest, {"restart"}).exit_code, 0);
  EXPECT_EQ(project_of(host_->tree(guest) + "/tmp/file"), project_of(disk_->path()));
}

INSTANTIATE_TEST_SUITE_P(Filesystems, DiskTest, testing::Values("ext4", "xfs"),
                         [](const auto& filesystem) { return std::string(filesystem.param); });

TEST(DiskWithoutQuotaTest, IsRefusedAndSaysWhatIsMissing) {
  VS_NEEDS_ISOLATION();
  for (const char* type : {"ext4", "btrfs"}) {
    VS_NEEDS_FILESYSTEM(type);
    const LoopFilesystem disk(type, 128);
    IsolationHost host(disk.path());
    const auto guest = host.add("guest", "DISK=20M\n");
    const auto result = host.vserver(guest, {"start"});
    EXPECT_EQ(result.exit_code, 1) << type;
    EXPECT_THAT(result.err, HasSubstr("DISK needs project quota")) << type;
    EXPECT_THAT(result.err, HasSubstr("prjquota")) << type;
  }
}

}  // namespace
}  // namespace vs::test
