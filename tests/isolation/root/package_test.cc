// A package command in real Debian guests that share their files.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "tests/isolation/root/isolation_host.h"
#include "tests/support/skip.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr const char* kGuests = VS_SOURCE_DIR "/tests/support/guests.sh";

class PackageTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    host_ = std::make_unique<IsolationHost>();
  }
  ino_t inode(const std::string& name, const std::string& path) const {
    struct stat found {};
    EXPECT_EQ(::lstat((host_->tree(name) + path).c_str(), &found), 0) << path;
    return found.st_ino;
  }
  RunResult vapt(Command words) const {
    words.insert(words.begin(), {VS_BINARY_DIR "/vapt", "--vunify-config", host_->path("vunify.conf")});
    return run(words, {host_->environment(), {}, std::chrono::minutes(3)});
  }
  std::unique_ptr<IsolationHost> host_;
};

TEST_F(PackageTest, VaptReinstallsAPackageOfAUnifiedGuestAndTheRestStaysShared) {
  VS_NEEDS_PROGRAM("mmdebstrap", "mmdebstrap");
  // Package sets of the demo, so they come from its cache.
  const std::string conf = "GUARD=\"!abstract-sockets\"\nINIT=plain\n";
  const auto web = host_->add_debian("web", conf, "perl binutils bash less"),
             other = host_->add_debian("other", conf, "perl binutils bash less python3-minimal");
  std::ofstream(host_->path("vunify.conf"))
      << fmt::format("tree = {0}={1}\ntree = {2}={3}\nstore = {4}/store\nstate = {4}/state\n", web,
                     host_->tree(web), other, host_->tree(other), host_->path(""));
  const auto unified = run({VS_BINARY_DIR "/vunify", "run", "--config", host_->path("vunify.conf")},
                           {{}, {}, std::chrono::minutes(3)});
  ASSERT_EQ(unified.exit_code, 0) << shown(unified);
  const std::string of_package = "/usr/lib/x86_64-linux-gnu/perl-base/POSIX.pm",
                    of_another = "/usr/bin/ld.bfd";
  const std::string target = fs::exists(host_->tree(web) + "/usr/bin/x86_64-linux-gnu-ld.bfd")
                                 ? "/usr/bin/x86_64-linux-gnu-ld.bfd"
                                 : of_another;
  ASSERT_EQ(inode(web, of_package), inode(other, of_package));
  ASSERT_EQ(inode(web, target), inode(other, target));
  const std::string deb = must_run({"bash", kGuests, "deb", host_->tree(web), "perl-base"});
  fs::copy_file(deb.substr(0, deb.find('\n')), host_->tree(web) + "/root/perl-base.deb");
  EXPECT_NE(vapt({web, "--", "-y", "--reinstall", "install", "/root/perl-base.deb"}).exit_code, 0)
      << "it does not run yet";
  for (const auto& name : {web, other}) ASSERT_EQ(host_->vserver(name, {"start"}).exit_code, 0);

  const Command reinstall = {"-y", "--reinstall", "--no-install-recommends", "install",
                             "/root/perl-base.deb"};
  Command sealed = {"--keep-shared", web, "--"};
  sealed.insert(sealed.end(), reinstall.begin(), reinstall.end());
  EXPECT_NE(vapt(sealed).exit_code, 0) << "sealed files cannot be replaced";
  EXPECT_EQ(inode(web, of_package), inode(other, of_package));

  Command released = {web, "--"};
  released.insert(released.end(), reinstall.begin(), reinstall.end());
  const auto done = vapt(released);
  ASSERT_EQ(done.exit_code, 0) << shown(done);
  EXPECT_NE(inode(web, of_package), inode(other, of_package)) << "its own";
  EXPECT_EQ(inode(web, target), inode(other, target)) << "other packages stay shared";
  EXPECT_EQ(host_->vserver(web, {"exec", "dpkg", "--verify", "perl-base"}).out, "");

  const auto both = vapt({"--unify", "--silent", "ALL", "--", "check"});
  EXPECT_EQ(both.exit_code, 0) << shown(both);
  EXPECT_EQ(inode(web, of_package), inode(other, of_package)) << "shared again";
  EXPECT_EQ(vapt({web, other, "--", "no-such-verb"}).exit_code, 100) << "the status of apt-get";
}

TEST_F(PackageTest, VrpmRunsInEachAndTellsTheFirstFailure) {
  const auto one = host_->add("one", ""), two = host_->add("two", "");
  for (const auto& [name, status] : {std::pair{one, 0}, {two, 3}}) {
    std::ofstream(host_->tree(name) + "/bin/rpm")
        << "#!/bin/sh\necho rpm \"$@\" of $(hostname)\nexit " << status << "\n";
    fs::permissions(host_->tree(name) + "/bin/rpm", fs::perms::owner_all);
    ASSERT_EQ(host_->vserver(name, {"start"}).exit_code, 0);
  }
  const auto all = host_->tool({"vrpm", "ALL", "--", "-q", "bash"});
  EXPECT_EQ(all.exit_code, 3) << shown(all);
  EXPECT_EQ(all.out, fmt::format("{0}:\nrpm -q bash of {0}\n{1}:\nrpm -q bash of {1}\n", one, two));
  EXPECT_THAT(all.err, HasSubstr("vserver " + two + ": rpm ended with status 3"));
  EXPECT_EQ(host_->tool({"vrpm", one}).exit_code, 125) << "no command";
  EXPECT_EQ(host_->tool({"vrpm", "../x", "--", "-q", "x"}).exit_code, 125);
}

TEST_F(PackageTest, VrpmInstallsVerifiesAndErasesWithARealRpmInside) {
  VS_NEEDS_PROGRAM("rpmbuild", "rpm");
  const std::string top = host_->path("rpmbuild"), conf = "GUARD=\"!abstract-sockets\"\nINIT=plain\n";
  write_file(top + "/app.config",
             "Name: app\nVersion: 1\nRelease: 1\nSummary: s\nLicense: x\nProvides: /bin/sh\nBuildArch: "
             "noarch\nAutoReqProv: no\n%description\nd\n"
             "%install\nmkdir -p %{buildroot}/srv\necho app > %{buildroot}/srv/app\n%post\nhostname > "
             "/srv/made\n%files\n/srv/app\n");
  must_run({"rpmbuild", "-bb", "--quiet", "--define", "_topdir " + top, top + "/app.config"});
  const std::vector<std::string> guests = {host_->add_debian("one", conf, "rpm"),
                                           host_->add_debian("two", conf, "rpm")};
  for (const auto& guest : guests) {
    fs::copy_file(top + "/RPMS/noarch/app-1-1.noarch.rpm", host_->tree(guest) + "/root/app.rpm");
    ASSERT_EQ(host_->vserver(guest, {"start"}).exit_code, 0);
  }
  const auto installed = host_->tool({"vrpm", "--keep-shared", "ALL", "--", "-i", "/root/app.rpm"});
  EXPECT_EQ(installed.exit_code, 0) << shown(installed);
  for (const auto& guest : guests)
    EXPECT_EQ(read_file(host_->tree(guest) + "/srv/made"), guest + "\n") << "its script ran inside";
  EXPECT_EQ(host_->tool({"vrpm", "--silent", "ALL", "--", "-q", "app"}).out,
            "app-1-1.noarch\napp-1-1.noarch\n");
  write_file(host_->tree(guests[1]) + "/srv/app", "changed");
  const auto verified = host_->tool({"vrpm", "ALL", "--", "-V", "app"});
  EXPECT_EQ(verified.exit_code, 1) << shown(verified);
  EXPECT_THAT(verified.out, HasSubstr("/srv/app"));
  EXPECT_THAT(verified.err, HasSubstr("vserver " + guests[1] + ": rpm ended with status 1"));
  EXPECT_EQ(host_->tool({"vrpm", "--keep-shared", guests[0], "--", "-e", "app"}).exit_code, 0);
  EXPECT_FALSE(fs::exists(host_->tree(guests[0]) + "/srv/app"));
  EXPECT_EQ(host_->tool({"vrpm", "--silent", guests[1], "--", "-q", "app"}).exit_code, 0)
      << "the other one has it still";
}

}  // namespace
}  // namespace vs::test
