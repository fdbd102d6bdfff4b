// What is found of the host that belongs to a vserver, and what is not taken for it.
#include "backup/source/host_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/backup/quiet_run.h"
#include "tests/support/temp_dir.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using backup::find_host_files;
using backup::HostFile;
using testing::ElementsAre;
using testing::IsEmpty;

class HostFilesTest : public testing::Test, public QuietRun {
 protected:
  // The files of one vserver of the name "web" with its tree there, by what is written in them.
  std::vector<std::string> found(const std::string& tree) {
    fs::create_directories(dir_ / tree);
    std::vector<Guest> guests;
    guests.push_back({"web", "--tree", RootDir(dir_ / tree)});
    files_ = find_host_files(guests, {dir_ / "conf", dir_ / "nspawn", dir_ / "pve"}, log_)["web"];
    std::vector<std::string> contents;
    for (const auto& file : files_) {
      EXPECT_EQ(read_file("/" + file.path), file.content);
      contents.push_back(file.content);
    }
    return contents;
  }
  TempDir dir_;
  std::vector<HostFile> files_;
};

TEST_F(HostFilesTest, FindsTheConfigurationOfAVserver) {
  write_file(dir_ / "conf/web.conf", "conf");
  write_file(dir_ / "conf/web.sh", "script");
  write_file(dir_ / "conf/web2.conf", "of another");
  fs::permissions(dir_ / "conf/web.sh", fs::perms(0750));
  EXPECT_THAT(found("vservers/web"), ElementsAre("conf", "script"));
  EXPECT_EQ(files_[1].mode, 0750u);
  EXPECT_EQ(log_.failed_objects(), 0u);
}

TEST_F(HostFilesTest, FindsTheSettingsOfNspawnByThePlaceOfTheTree) {
  write_file(dir_ / "nspawn/webserver.nspawn", "in etc");
  write_file(dir_ / "machines/webserver.nspawn", "beside");
  EXPECT_THAT(found("machines/webserver"), ElementsAre("beside", "in etc"));
}

TEST_F(HostFilesTest, FindsWhatLxcIncusAndProxmoxHaveForARootfs) {
  write_file(dir_ / "lxc/105/config", "lxc");
  write_file(dir_ / "lxc/105/backup.yaml", "incus");
  write_file(dir_ / "pve/105.conf", "proxmox");
  EXPECT_THAT(found("lxc/105/rootfs"), ElementsAre("incus", "lxc", "proxmox"));
  write_file(dir_ / "lxc/106/config", "of no rootfs");
  EXPECT_THAT(found("lxc/106/tree"), IsEmpty());
}

// The directory above an LXC tree may be an unprivileged user's.
TEST_F(HostFilesTest, NothingOfTheHostIsTakenThroughALinkBesideTheTree) {
  write_file(dir_ / "secret", "secret");
  fs::create_directories(dir_ / "lxc/web");
  fs::create_symlink(dir_ / "secret", dir_ / "lxc/web/config");
  ASSERT_EQ(::mkfifo((dir_ / "lxc/web/fstab").c_str(), 0600), 0);
  EXPECT_THAT(found("lxc/web/rootfs"), IsEmpty());
  EXPECT_EQ(log_.failed_objects(), 2u) << "both are told";
}

TEST_F(HostFilesTest, TheAdministratorMayLinkHisConfiguration) {
  write_file(dir_ / "elsewhere", "conf");
  fs::create_directories(dir_ / "conf");
  fs::create_symlink(dir_ / "elsewhere", dir_ / "conf/web.conf");
  EXPECT_THAT(found("vservers/web"), ElementsAre("conf"));
}

TEST_F(HostFilesTest, WhatIsTooLargeForSettingsIsTold) {
  write_file(dir_ / "conf/web.conf", std::string((1u << 20) + 1, 'x'));
  write_file(dir_ / "conf/web.sh", std::string(1u << 20, 'x'));
  EXPECT_EQ(found("vservers/web").size(), 1u);
  EXPECT_EQ(log_.failed_objects(), 1u);
}

}  // namespace
}  // namespace vs::test
