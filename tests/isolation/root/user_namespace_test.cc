// USERNS: what is root inside is nobody in particular outside, and the files do not know.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "isolation/context/user_namespace.h"
#include "tests/isolation/root/attempts.h"
#include "tests/isolation/root/isolation_host.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

std::pair<uid_t, gid_t> owner_of(const std::string& path) {
  struct stat found {};
  EXPECT_EQ(::lstat(path.c_str(), &found), 0) << path;
  return {found.st_uid, found.st_gid};
}
constexpr std::pair<uid_t, gid_t> kRoot{0, 0};

class UserNamespaceTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    host_ = std::make_unique<IsolationHost>();
  }
  std::string add(const std::string& more = "", const std::string& name = "guest") {
    return host_->add(name, "IPROOT=10.99.0.5\nIPROOTDEV=lo\nUSERNS=yes\n" + more);
  }
  void start(const std::string& guest) {
    const auto started = host_->vserver(guest, {"start"});
    ASSERT_EQ(started.exit_code, 0) << shown(started);
  }
  RunResult inside(const std::string& guest, std::vector<std::string> words) const {
    words.insert(words.begin(), "exec");
    return host_->vserver(guest, words);
  }
  // The host's number of the guest's process whose command line is this.
  std::string process(const std::string& command) const {
    std::string found;
    within(std::chrono::seconds(5), [&] {
      found = run({"pgrep", "-f", "-x", command}).out;
      return !found.empty();
    });
    return found.substr(0, found.find('\n'));
  }
  std::unique_ptr<IsolationHost> host_;
};

TEST_F(UserNamespaceTest, RootInsideIsAnIdOfItsContextAndFilesKeepTheirOwners) {
  const auto guest = add("S_CONTEXT=400\n");
  const std::string tree = host_->tree(guest);
  ASSERT_EQ(::lchown((tree + "/tmp").c_str(), 33, 77), 0);
  ASSERT_NO_FATAL_FAILURE(start(guest));
  EXPECT_EQ(inside(guest, {"id", "-u"}).out, "0\n");
  EXPECT_EQ(inside(guest, {"busybox", "cat", "/proc/self/uid_map"}).out,
            fmt::format("{:>10} {:>10} {:>10}\n", 0, 400 * 65536, 65536));
  const std::string mark = fmt::format("7{}.5", ::getpid());
  inside(guest, {"sh", "-c", "sleep " + mark + " >/dev/null 2>&1 </dev/null &"});
  const std::string pid = process("sleep " + mark);
  ASSERT_NE(pid, "");
  EXPECT_EQ(owner_of("/proc/" + pid).first, 400u * 65536);
  EXPECT_EQ(inside(guest, {"busybox", "stat", "-c", "%u:%g", "/bin/busybox", "/tmp", "/dev/null", "/dev",
                           "/run", "/dev/shm", "/dev/pts"})
                .out,
            "0:0\n33:77\n0:0\n0:0\n0:0\n0:0\n0:0\n");
  EXPECT_EQ(inside(guest, {"sh", "-c",
                           "echo x > /root/made; busybox mkdir /root/dir; busybox touch /root/its; busybox "
                           "chown 33:77 /root/its; busybox chmod 4755 /root/its"})
                .exit_code,
            0);
  EXPECT_EQ(owner_of(tree + "/root/made"), kRoot);
  EXPECT_EQ(owner_of(tree + "/root/dir"), kRoot);
  EXPECT_EQ(owner_of(tree + "/root/its"), (std::pair<uid_t, gid_t>{33, 77}))
      << "chown inside is on disk what it says";
  EXPECT_EQ(host_->vserver(guest, {"suexec", "www", "sh", "-c", "id -u; id -G; echo x > /tmp/made"}).out,
            "33\n33 77\n");
  EXPECT_EQ(owner_of(tree + "/tmp/made"), (std::pair<uid_t, gid_t>{33, 33}));
  const auto status = host_->vserver(guest, {"status"});
  EXPECT_THAT(status.out, HasSubstr("user-namespace"));
  EXPECT_THAT(status.out, HasSubstr("User ids: 26214400 to 26279935 of the host"));
  EXPECT_THAT(host_->tool({"vserver-stat"}).out, HasSubstr("user-namespace"));
  EXPECT_THAT(host_->tool({"vps", "axww", "-o", "pid,args"}).out,
              testing::ContainsRegex(pid + " +400 " + guest.substr(0, 10)));
  EXPECT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
  EXPECT_EQ(host_->left_behind(), "");
}

TEST_F(UserNamespaceTest, SetUserIdProgramsWorkAndReachNothingOfTheHosts) {
  const auto guest = add();
  const std::string tree = host_->tree(guest);
  fs::copy_file(VS_BINARY_DIR "/isolation_attacker", tree + "/bin/setid");
  ASSERT_EQ(::chmod((tree + "/bin/setid").c_str(), 04755), 0);
  write_file(tree + "/root/secret", "of the guest's root");
  ASSERT_EQ(::chmod((tree + "/root/secret").c_str(), 0600), 0);
  ASSERT_NO_FATAL_FAILURE(start(guest));
  EXPECT_EQ(outcome(host_->vserver(guest, {"suexec", "www", "/attacker", "read", "/root/secret"})), "EACCES")
      << "not as who it is";
  EXPECT_EQ(outcome(host_->vserver(guest, {"suexec", "www", "/bin/setid", "read", "/root/secret"})), "WORKED")
      << "as the owner of the program";
  // An id that has no meaning inside: on disk it can be nobody's whom the guest could become.
  ASSERT_EQ(::lchown((tree + "/root/secret").c_str(), 70000, 70000), 0);
  EXPECT_EQ(inside(guest, {"busybox", "stat", "-c", "%u", "/root/secret"}).out, "65534\n");
  EXPECT_EQ(outcome(inside(guest, {"/attacker", "read", "/root/secret"})), "EACCES");
  EXPECT_EQ(outcome(run({VS_BINARY_DIR "/isolation_attacker", "read", tree + "/root/secret"})), "WORKED");
}

TEST_F(UserNamespaceTest, TheSealHoldsEvenAgainstItsCapability) {
  VS_NEEDS_FILESYSTEM("ext4");
  const auto guest = add("S_CAPS=CAP_LINUX_IMMUTABLE\n");
  const std::string file = host_->tree(guest) + "/sealed";
  write_file(file, "shared");
  if (run({"chattr", "+i", file}).exit_code != 0)
    VS_SKIP(kFilesystem) << "no immutable attribute on this filesystem";
  ASSERT_NO_FATAL_FAILURE(start(guest));
  EXPECT_EQ(outcome(host_->attack(guest, {"unseal", "/sealed"})), "EPERM");
  EXPECT_TRUE(is_immutable(file));
  EXPECT_EQ(outcome(run({VS_BINARY_DIR "/isolation_attacker", "unseal", file})), "WORKED");
}

TEST_F(UserNamespaceTest, OnlyItsRootBindsToPortsBelow1024) {
  const auto guest = add();
  ASSERT_NO_FATAL_FAILURE(start(guest));
  auto server = host_->background(guest, {"exec", "/attacker", "serve", "80"});
  const std::string served = host_->tree(guest) + "/served";
  EXPECT_TRUE(host_->appears(guest, "/served"));
  EXPECT_EQ(read_file(served), "10.99.0.5\n");
  const auto other = host_->vserver(guest, {"suexec", "www", "/attacker", "serve", "81"});
  EXPECT_EQ(outcome(other), "EACCES") << shown(other);
  server.reset();
}

TEST_F(UserNamespaceTest, WithoutAddressesOfItsOwnItsRootBindsToo) {
  const auto guest = host_->add("untied", "USERNS=yes\n");
  ASSERT_NO_FATAL_FAILURE(start(guest));
  auto server = host_->background(guest, {"exec", "/attacker", "serve", "82"});
  EXPECT_TRUE(host_->appears(guest, "/served"));
}

TEST_F(UserNamespaceTest, APrivateNetworkLimitsAndPriorityAreMadeFromOutside) {
  const auto guest = host_->add(
      "private", "NETWORK=private\nIPROOT=10.99.3.5\nUSERNS=yes\nULIMIT=\"-n 300\"\nS_NICE=3\nPIDS=50\n");
  ASSERT_NO_FATAL_FAILURE(start(guest));
  EXPECT_THAT(inside(guest, {"ip", "-o", "addr", "show", "eth0"}).out, HasSubstr("10.99.3.5"));
  EXPECT_EQ(inside(guest, {"busybox", "ping", "-c", "1", "-W", "2", "10.99.3.5"}).exit_code, 1)
      << "no raw sockets";
  auto server = host_->background(guest, {"exec", "/attacker", "serve", "80"});
  EXPECT_TRUE(within(std::chrono::seconds(5), [&] {
    return run({"sh", "-c", "busybox nc -w 2 10.99.3.5 80 </dev/null"}).out == "10.99.3.1\n" ||
           fs::exists(host_->tree(guest) + "/served");
  }));
  EXPECT_THAT(inside(guest, {"cat", "/proc/1/limits"}).out,
              testing::ContainsRegex("Max open files +300 +300"));
  server.reset();
  EXPECT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
  EXPECT_EQ(host_->left_behind(), "");
}

TEST_F(UserNamespaceTest, WhoEntersGetsATerminalOfTheGuests) {
  VS_NEEDS_PROGRAM("script", "bsdutils");
  const auto guest = add();
  ASSERT_NO_FATAL_FAILURE(start(guest));
  const auto session = run({"sh", "-c",
                            "printf 'echo $(busybox tty) $(busybox stat -Lc %%u /proc/self/fd/0) $(id "
                            "-u)\\nexit\\n' | script -qec '" VS_BINARY_DIR "/vserver " +
                                guest + " enter' /dev/null"},
                           {host_->environment(), {}, std::chrono::milliseconds(20000)});
  EXPECT_THAT(session.out, HasSubstr("/dev/pts/0 0 0\r\n")) << shown(session);
}

TEST_F(UserNamespaceTest, ADirectoryOfTheHostHasItsOwnersInsideToo) {
  const std::string shared = host_->path("shared");
  fs::create_directories(shared);
  ASSERT_EQ(::chown(shared.c_str(), 33, 77), 0);
  const auto guest = add("BIND=" + shared + ":/srv\n");
  ASSERT_NO_FATAL_FAILURE(start(guest));
  EXPECT_EQ(inside(guest, {"busybox", "stat", "-c", "%u:%g", "/srv"}).out, "33:77\n");
  EXPECT_EQ(inside(guest, {"busybox", "touch", "/srv/made"}).exit_code, 0);
  EXPECT_EQ(owner_of(shared + "/made"), kRoot);
}

TEST_F(UserNamespaceTest, RootInsideAsksForItsRestart) {
  const auto guest = add();
  fs::copy_file(VS_BINARY_DIR "/vreboot", host_->tree(guest) + "/bin/vreboot");
  const Process server({VS_BINARY_DIR "/rebootmgr"},
                       {host_->environment(), {}, std::chrono::milliseconds(60000)});
  ASSERT_NO_FATAL_FAILURE(start(guest));
  EXPECT_EQ(inside(guest, {"busybox", "touch", "/run/of-this-start"}).exit_code, 0);
  const auto not_root = host_->vserver(guest, {"suexec", "www", "vreboot"});
  EXPECT_EQ(not_root.exit_code, 1) << shown(not_root);
  EXPECT_THAT(not_root.err, HasSubstr("Permission denied"));
  EXPECT_TRUE(within(std::chrono::seconds(10), [&] { return inside(guest, {"vreboot"}).exit_code == 0; }));
  EXPECT_TRUE(within(std::chrono::seconds(20), [&] {
    return inside(guest, {"busybox", "test", "!", "-e", "/run/of-this-start"}).exit_code == 0;
  }));
}

TEST_F(UserNamespaceTest, TroubleIsNamedAndLeavesNothing) {
  const auto first = add("S_CONTEXT=401\n", "first"), second = host_->add("second", "USERNS=26279936\n"),
             wrong = host_->add("wrong", "USERNS=1000\n");
  ASSERT_NO_FATAL_FAILURE(start(first));
  const auto refused = host_->vserver(second, {"start"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr("are in use by context 401 (" + first + ")"));
  EXPECT_THAT(host_->vserver(wrong, {"start"}).err, HasSubstr("USERNS"));
  // What it is on has no id mapping: here a filesystem of memory of the kernel's own kind.
  const auto odd = host_->add("odd", "USERNS=yes\nBIND=/proc/sys:/srv\n");
  const auto failed = host_->vserver(odd, {"start"});
  EXPECT_EQ(failed.exit_code, 1);
  EXPECT_THAT(failed.err, HasSubstr("type proc"));
  EXPECT_THAT(failed.err, HasSubstr("idmapped"));
  EXPECT_EQ(host_->vserver(first, {"stop"}).exit_code, 0);
  EXPECT_EQ(host_->left_behind(), "");
}

TEST(UserNamespaceIdsTest, RangesDoNotOverlapOthers) {
  const TempDir dir;
  const std::string subuid = dir / "subuid", none = dir / "none";
  write_file(subuid, "ann:100000:65536\nben:3211264:65536\n");
  const auto first = [&](unsigned number, uint32_t configured) {
    return isolation::first_id_of(number, configured, {}, subuid.c_str(), none.c_str());
  };
  EXPECT_EQ(first(300, 0).value(), 300u * 65536);
  EXPECT_THAT(first(2, 0).error().message, HasSubstr("belong to ann"));
  EXPECT_THAT(first(300, 165535).error().message, HasSubstr("belong to ann"));
  EXPECT_EQ(first(300, 165536).value(), 165536u);
  EXPECT_THAT(first(49, 0).error().message, HasSubstr("belong to ben"));
  EXPECT_THAT(first(65535, 0).error().message, HasSubstr("too many"));
}

TEST_F(UserNamespaceTest, ARealDebianWithSystemdAndServers) {
  VS_NEEDS_PROGRAM("mmdebstrap", "mmdebstrap");
  write_file(host_->path("vservers.conf"), "STOP_TIMEOUT=30\n");
  const auto guest = host_->add_debian("debian", "IPROOT=10.99.0.10\nIPROOTDEV=lo\nUSERNS=yes\n",
                                       "systemd-sysv dbus nginx openssh-server");
  ASSERT_NO_FATAL_FAILURE(start(guest));
  std::string state;
  EXPECT_TRUE(within(std::chrono::seconds(60),
                     [&] {
                       return (state = inside(guest, {"systemctl", "is-system-running"}).out) == "running\n";
                     }))
      << state << inside(guest, {"systemctl", "list-units", "--failed"}).out
      << inside(guest, {"journalctl", "-b", "--no-pager", "-p", "warning"}).out;
  EXPECT_TRUE(within(std::chrono::seconds(20), [&] {
    return run({"busybox", "wget", "-q", "-O", "-", "http://10.99.0.10/"}).out.find("Welcome to nginx") !=
           std::string::npos;
  }));
  EXPECT_TRUE(within(std::chrono::seconds(20), [&] {
    return run({"sh", "-c", "sleep 0.3 | busybox nc -w 5 10.99.0.10 22"}).out.starts_with("SSH-2.0");
  }));
  EXPECT_EQ(inside(guest, {"dpkg", "--audit"}).out, "");
  EXPECT_EQ(inside(guest, {"sh", "-c", "useradd -m ann && su ann -c 'touch ~/mine && id -u'"}).out, "1000\n");
  EXPECT_EQ(owner_of(host_->tree(guest) + "/home/ann/mine").first, 1000u);
  EXPECT_THAT(inside(guest, {"systemd-run", "--wait", "--pipe", "cat", "/proc/self/cgroup"}).out,
              HasSubstr("/system.slice/run-"));
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(25)) << "it ended by itself";
  EXPECT_EQ(host_->left_behind(), "");
}

}  // namespace
}  // namespace vs::test
