// Making and removing vservers.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "tests/isolation/root/isolation_host.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class VserverBuildTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    host_ = std::make_unique<IsolationHost>();
  }
  std::unique_ptr<IsolationHost> host_;
};

TEST_F(VserverBuildTest, TemplateMakesAGuestThatStartsAndDeleteRemovesIt) {
  const auto model = host_->add("model", "");
  const std::string tar = host_->path("model.tar"), name = fmt::format("t{}-built", ::getpid());
  must_run({"tar", "-cf", tar, "-C", host_->tree(model), "."});
  const auto built =
      host_->vserver(name, {"build", "--method", "template", "--from", tar, "--hostname", "www"});
  ASSERT_EQ(built.exit_code, 0) << shown(built);
  EXPECT_EQ(host_->vserver(name, {"build"}).exit_code, 1) << "it exists";
  ASSERT_EQ(host_->vserver(name, {"start"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(name, {"exec", "hostname"}).out, "www\n");
  EXPECT_EQ(host_->vserver(name, {"delete"}).exit_code, 1) << "it runs";
  ASSERT_EQ(host_->vserver(name, {"stop"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(name, {"delete"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(host_->tree(name)));
  EXPECT_FALSE(fs::exists(host_->path("conf/" + name + ".conf")));
}

// Two packages, one of which needs the other and has a script that runs in the tree.
TEST_F(VserverBuildTest, RpmInstallsADirectoryOfPackagesWithTheirScripts) {
  VS_NEEDS_PROGRAM("rpmbuild", "rpm");
  std::string arch = must_run({"rpm", "--eval", "%{_arch}"});
  arch.pop_back();
  const std::string top = host_->path("rpmbuild"), rpms = top + "/RPMS/" + arch,
                    name = fmt::format("t{}-rpm", ::getpid());
  write_file(
      top + "/base.config",
      "Name: base\nVersion: 1\nRelease: 1\nSummary: s\nLicense: x\nProvides: /bin/sh\nAutoReqProv: "
      "no\n%description\nd\n"
      "%install\nmkdir -p %{buildroot}/bin %{buildroot}/etc\ncp /usr/bin/busybox "
      "%{buildroot}/bin/busybox\nln -s busybox %{buildroot}/bin/sh\nln -s busybox %{buildroot}/bin/cat\n"
      "echo root:x:0:0:of the package:/root:/bin/sh > "
      "%{buildroot}/etc/passwd\n%files\n/bin/*\n%config(noreplace) /etc/passwd\n");
  write_file(top + "/app.config",
             "Name: app\nVersion: 1\nRelease: 1\nSummary: s\nLicense: x\nRequires: base\nAutoReqProv: "
             "no\n%description\nd\n"
             "%install\nmkdir -p %{buildroot}/srv\necho app > %{buildroot}/srv/app\n%post\ncat /srv/app > "
             "/srv/made 2>/dev/null\n%files\n/srv/app\n");
  for (const char* config : {"base", "app"})
    must_run({"rpmbuild", "-bb", "--quiet", "--define", "_topdir " + top, "--define",
              "__os_install_post %{nil}", fmt::format("{}/{}.config", top, config)});
  const auto refused =
      host_->vserver(name, {"build", "--method", "rpm", "--from", rpms + "/app-1-1." + arch + ".rpm"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("base is needed by app")) << shown(refused);
  EXPECT_FALSE(fs::exists(host_->tree(name)));
  const auto built = host_->vserver(name, {"build", "--method", "rpm", "--from", rpms});
  ASSERT_EQ(built.exit_code, 0) << shown(built);
  EXPECT_EQ(read_file(host_->tree(name) + "/srv/made"), "app\n") << "the script ran";
  EXPECT_FALSE(fs::exists(host_->tree(name) + "/dev/null"));
  EXPECT_THAT(must_run({"rpm", "--root", host_->tree(name), "-qa"}), HasSubstr("app-1-1." + arch));
  EXPECT_THAT(read_file(host_->tree(name) + "/etc/passwd"), HasSubstr("of the package"));
  ASSERT_EQ(host_->vserver(name, {"start"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(name, {"exec", "cat", "/srv/app"}).out, "app\n");
  ASSERT_EQ(host_->vserver(name, {"stop"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(name, {"delete"}).exit_code, 0);
}

TEST_F(VserverBuildTest, SkeletonIsATreeThatBindsCanFill) {
  const std::string name = fmt::format("t{}-skeleton", ::getpid());
  ASSERT_EQ(host_->vserver(name, {"build"}).exit_code, 0);
  for (const char* dir : {"dev", "proc", "sys", "run", "etc", "root", "tmp"})
    EXPECT_TRUE(fs::is_directory(host_->tree(name) + "/" + dir)) << dir;
  EXPECT_THAT(read_file(host_->tree(name) + "/etc/passwd"), HasSubstr("root:x:0:0"));
  fs::create_directories(host_->path("programs"));
  fs::copy_file("/usr/bin/busybox", host_->path("programs/cat"));
  host_->configure(name, "BIND=\"" + host_->path("programs") + ":/bin:ro\"\n");
  ASSERT_EQ(host_->vserver(name, {"start"}).exit_code, 0);
  EXPECT_THAT(host_->vserver(name, {"exec", "/bin/cat", "/etc/hosts"}).out, HasSubstr("localhost"));
  ASSERT_EQ(host_->vserver(name, {"stop"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(name, {"delete"}).exit_code, 0);
}

TEST_F(VserverBuildTest, DebootstrapMakesADebianThatStarts) {
  VS_NEEDS_PROGRAM("mmdebstrap", "mmdebstrap");
  const std::string name = fmt::format("t{}-debian", ::getpid());
  const auto built = host_->vserver_on_the_network(
      name, {"build", "--method", "debootstrap", "--packages", "busybox-static"});
  if (built.exit_code != 0 && built.err.find("apt-get update") != std::string::npos)
    VS_SKIP(kNetwork) << "no Debian mirror is reached: " << built.err;
  ASSERT_EQ(built.exit_code, 0) << shown(built);
  ASSERT_EQ(host_->vserver(name, {"start"}).exit_code, 0);
  EXPECT_THAT(host_->vserver(name, {"exec", "dpkg", "-l", "busybox-static"}).out,
              HasSubstr("ii  busybox-static"));
  ASSERT_EQ(host_->vserver(name, {"stop"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(name, {"delete"}).exit_code, 0);
}

TEST_F(VserverBuildTest, WhatFailsLeavesNothing) {
  const std::string name = fmt::format("t{}-failed", ::getpid());
  for (const std::vector<std::string>& options :
       {std::vector<std::string>{"--method", "template", "--from", "/no/such.tar"},
        {"--method", "magic"},
        {"--method", "rpm"},
        {"--method", "rpm", "--from", "/proc/self/fdinfo"},
        {"--method", "clone", "--from", "nobody-there"},
        {"--ip", "1.2.3"}}) {
    std::vector<std::string> words = {"build"};
    words.insert(words.end(), options.begin(), options.end());
    const auto refused = host_->vserver(name, words);
    EXPECT_THAT(refused.exit_code, testing::AnyOf(1, 2)) << shown(refused);
    EXPECT_NE(refused.err, "");
    EXPECT_FALSE(fs::exists(host_->tree(name)));
    EXPECT_FALSE(fs::exists(host_->path("conf/" + name + ".conf")));
  }
}

TEST_F(VserverBuildTest, DeleteUnsealsOnlyForAMomentAndFollowsNoLink) {
  const auto guest = host_->add("guest", "");
  const std::string outside = host_->path("outside"), master = host_->path("master");
  fs::create_directories(outside);
  write_file(outside + "/kept", "host");
  fs::create_directory_symlink(outside, host_->tree(guest) + "/link");
  write_file(master, "shared");
  fs::create_hard_link(master, host_->tree(guest) + "/shared");
  write_file(host_->tree(guest) + "/own", "sealed by hand");
  try {
    set_immutable(master, true);
    set_immutable(host_->tree(guest) + "/own", true);
  } catch (const std::exception& error) {
    VS_SKIP(kFilesystem) << "no immutable attribute here: " << error.what();
  }
  if (!is_immutable(master)) VS_SKIP(kFilesystem) << "no immutable attribute here";
  const auto result = host_->vserver(guest, {"delete"});
  EXPECT_EQ(result.exit_code, 0) << shown(result);
  EXPECT_FALSE(fs::exists(host_->tree(guest)));
  EXPECT_TRUE(is_immutable(master));
  EXPECT_EQ(read_file(master), "shared");
  EXPECT_EQ(read_file(outside + "/kept"), "host");
  set_immutable(master, false);
}

TEST_F(VserverBuildTest, DeleteKilledInThatMomentLeavesASharedFileSealed) {
  const auto guest = host_->add("guest", "");
  const std::string master = host_->path("master");
  write_file(master, "shared");
  fs::create_hard_link(master, host_->tree(guest) + "/shared");
  try {
    set_immutable(master, true);
  } catch (const std::exception& error) {
    VS_SKIP(kFilesystem) << "no immutable attribute here: " << error.what();
  }
  if (!is_immutable(master)) VS_SKIP(kFilesystem) << "no immutable attribute here";
  const auto killed = host_->vserver(guest, {"delete"}, {{"VS_DIE_AFTER_STEP", "unseal"}});
  EXPECT_EQ(killed.signal, SIGKILL) << shown(killed);
  EXPECT_TRUE(within(std::chrono::seconds(10), [&] { return is_immutable(master); }));
  EXPECT_EQ(host_->vserver(guest, {"delete"}).exit_code, 0) << "the next command goes on";
  EXPECT_FALSE(fs::exists(host_->tree(guest)));
  EXPECT_TRUE(is_immutable(master));
  set_immutable(master, false);
}

}  // namespace
}  // namespace vs::test
