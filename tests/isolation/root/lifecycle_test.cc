// Starting and stopping: what is promised about it, and that nothing stays.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "tests/isolation/root/attempts.h"
#include "tests/isolation/root/isolation_host.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class LifecycleTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    host_ = std::make_unique<IsolationHost>();
  }
  std::string add(const std::string& more = "") {
    return host_->add("guest", "IPROOT=\"10.99.0.5\"\nIPROOTDEV=lo\n" + more);
  }
  std::unique_ptr<IsolationHost> host_;
};

TEST_F(LifecycleTest, StartsRunsAndStops) {
  const auto guest = add("S_HOSTNAME=www\nS_CONTEXT=300\n");
  EXPECT_EQ(host_->vserver(guest, {"running"}).exit_code, 1);
  auto result = host_->vserver(guest, {"start"});
  ASSERT_EQ(result.exit_code, 0) << shown(result);
  EXPECT_EQ(host_->vserver(guest, {"running"}).exit_code, 0);
  EXPECT_THAT(host_->vserver(guest, {"status"}).out, HasSubstr("Context: 300"));
  EXPECT_EQ(read_file(host_->path("run/" + guest + ".ctx")), "S_CONTEXT=300\nS_PROFILE=prod\n");
  EXPECT_EQ(host_->vserver(guest, {"exec", "hostname"}).out, "www\n");
  EXPECT_EQ(host_->vserver(guest, {"exec", "sh", "-c", "tr '\\0' ' ' </proc/1/cmdline; cat /proc/1/comm"})
                .out.substr(0, 5),
            "init ")
      << "nothing of the host's command line";
  EXPECT_THAT(host_->vserver(guest, {"exec", "cat", "/proc/1/environ"}).err, HasSubstr("Permission denied"));
  EXPECT_THAT(host_->tool({"vserver-stat"}).out, HasSubstr(guest));
  EXPECT_EQ(host_->vserver(guest, {"start"}).exit_code, 0) << "idempotent";
  EXPECT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0) << "idempotent";
  EXPECT_EQ(host_->left_behind(), "");
}

// A rescue system or an image build: the machine's tree seen at a mount point, in a mount namespace of its
// own.
RunResult in_a_chroot(const IsolationHost& host, const std::string& command) {
  const std::string place = host.path("chroot");
  fs::create_directories(place);
  return run({"unshare", "-m", "--propagation", "private", "sh", "-c",
              "mount --rbind / '" + place + "' && exec chroot '" + place + "' " + command},
             {host.environment(), {}, std::chrono::milliseconds(60000)});
}

TEST_F(LifecycleTest, AVserverStartedInAChrootIsConfinedAsWell) {
  const auto guest = add();
  const auto started = in_a_chroot(*host_, VS_BINARY_DIR "/vserver " + guest + " start");
  ASSERT_EQ(started.exit_code, 0) << shown(started);
  struct stat tree {};
  ASSERT_EQ(::stat(host_->tree(guest).c_str(), &tree), 0);
  const auto root = host_->vserver(guest, {"exec", "busybox", "stat", "-c", "%i", "/"});
  EXPECT_EQ(root.out, fmt::format("{}\n", tree.st_ino))
      << "what enters arrives at the guest's tree: " << shown(root);
  const auto again = in_a_chroot(*host_, VS_BINARY_DIR "/vserver " + guest + " exec busybox stat -c %i /");
  EXPECT_EQ(again.out, fmt::format("{}\n", tree.st_ino)) << shown(again);
  // Getting out of a chroot by a second one: up as far as it goes is the guest's own tree.
  const auto up = host_->vserver(guest, {"exec", "sh", "-c",
                                         "busybox mkdir -p /x; busybox chroot /x /bin/sh 2>/dev/null; cd /; "
                                         "for i in 1 2 3 4 5 6; do cd ..; done; "
                                         "busybox stat -c %i ."});
  EXPECT_EQ(up.out, fmt::format("{}\n", tree.st_ino)) << shown(up);
}

TEST_F(LifecycleTest, ChcontextInAChrootSaysWhyItRefuses) {
  const auto refused = in_a_chroot(*host_, VS_BINARY_DIR "/chcontext --silent true");
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.err, HasSubstr("this was called in a chroot")) << shown(refused);
  const auto runs = host_->tool({"chcontext", "--silent", "true"});
  EXPECT_EQ(runs.exit_code, 0) << shown(runs);
}

TEST_F(LifecycleTest, PassesOnTheStatusOfACommandAndItsUser) {
  const auto guest = add();
  ASSERT_EQ(host_->vserver(guest, {"start"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(guest, {"exec", "sh", "-c", "exit 42"}).exit_code, 42);
  EXPECT_EQ(host_->vserver(guest, {"exec", "no-such-command"}).exit_code, 127);
  EXPECT_EQ(host_->vserver(guest, {"exec", "/etc/passwd"}).exit_code, 126);
  EXPECT_EQ(host_->vserver(guest, {"exec", "sh", "-c", "kill -9 $$"}).exit_code, 137);
  EXPECT_EQ(host_->vserver(guest, {"suexec", "www", "sh", "-c", "id -u; id -G"}).out, "33\n33 77\n");
  EXPECT_EQ(host_->vserver(guest, {"suexec", "nobody-there", "id"}).exit_code, 125);
}

TEST_F(LifecycleTest, ManyCyclesLeaveNothingBehind) {
  const auto guest = add("MEMORY=64M\nPIDS=50\n");
  for (int i = 0; i < 20; ++i) {
    const auto result = host_->vserver(guest, {"restart"});
    ASSERT_EQ(result.exit_code, 0) << shown(result);
  }
  ASSERT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
  EXPECT_EQ(host_->left_behind(), "");
}

// The stop command enters the vserver to run these; it must not stand in its cgroup when that is removed.
TEST_F(LifecycleTest, StopScriptsOfAGuestWithLimitsRunAndLeaveNoCgroup) {
  const auto guest = add("INIT=rc\nPIDS=50\nMEMORY=64M\n");
  fs::create_directories(host_->tree(guest) + "/etc/init.d");
  std::ofstream(host_->tree(guest) + "/etc/init.d/rc") << "#!/bin/sh\necho level $1 >>/etc/levels\n";
  fs::permissions(host_->tree(guest) + "/etc/init.d/rc", fs::perms::owner_all);
  ASSERT_EQ(host_->vserver(guest, {"start"}).exit_code, 0);
  const auto stopped = host_->vserver(guest, {"stop"});
  EXPECT_EQ(stopped.exit_code, 0);
  EXPECT_EQ(stopped.err, "");
  EXPECT_THAT(read_file(host_->tree(guest) + "/etc/levels"), HasSubstr("level 0\n"));
  EXPECT_EQ(host_->left_behind(), "");
}

TEST_F(LifecycleTest, AKilledStartIsCleanedByTheNextCommand) {
  const auto guest = add("MEMORY=64M\n");
  for (const char* step :
       {"pre-start", "guards", "addresses", "cgroup", "reboot", "context", "state", "post-start"}) {
    const auto killed = host_->vserver(guest, {"start"}, {{"VS_DIE_AFTER_STEP", step}});
    ASSERT_EQ(killed.signal, SIGKILL) << step << shown(killed);
    if (std::string(step) == "state" || std::string(step) == "post-start") {
      EXPECT_EQ(host_->vserver(guest, {"running"}).exit_code, 0) << step << ": it was up already";
      ASSERT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
    } else {
      EXPECT_EQ(host_->vserver(guest, {"running"}).exit_code, 1) << step;
    }
    EXPECT_EQ(host_->left_behind(), "") << step;
    const auto again = host_->vserver(guest, {"start"});
    EXPECT_EQ(again.exit_code, 0) << step << shown(again);
    ASSERT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
  }
}

TEST_F(LifecycleTest, AGuestThatEndsByItselfIsCleanedByTheNextCommand) {
  const auto guest = add();
  ASSERT_EQ(host_->vserver(guest, {"start"}).exit_code, 0);
  host_->vserver(guest, {"exec", "kill", "-TERM", "1"});
  EXPECT_TRUE(
      within(std::chrono::seconds(20), [&] { return host_->vserver(guest, {"running"}).exit_code == 1; }));
  EXPECT_EQ(host_->left_behind(), "");
}

TEST_F(LifecycleTest, AHookThatFailsUndoesTheStart) {
  const auto guest = add();
  for (const char* phase : {"pre-start", "post-start"}) {
    const std::string hook = host_->path("conf/" + guest + ".sh");
    std::ofstream(hook) << "#!/bin/sh\n[ \"$1\" != " << phase << " ]\n";
    fs::permissions(hook, fs::perms::owner_all);
    const auto result = host_->vserver(guest, {"start"});
    EXPECT_EQ(result.exit_code, 1) << shown(result);
    EXPECT_THAT(result.err, HasSubstr(phase));
    EXPECT_EQ(host_->left_behind(), "") << phase;
    fs::remove(hook);
  }
}

TEST_F(LifecycleTest, TroubleIsNamed) {
  const auto guest = add();
  host_->configure(guest, "\nS_NICE=high\n");
  EXPECT_THAT(host_->vserver(guest, {"start"}).err, HasSubstr(guest + ".conf:2: S_NICE: expected"));
  EXPECT_EQ(host_->vserver(guest, {"start"}).exit_code, 2);
  host_->configure(guest, "IPROOT=10.99.0.5\n");
  fs::rename(host_->tree(guest), host_->tree(guest) + ".away");
  EXPECT_THAT(host_->vserver(guest, {"start"}).err,
              HasSubstr("the tree of vserver " + guest + " does not exist"));
  EXPECT_THAT(host_->vserver("unknown", {"start"}).err, HasSubstr("there is no vserver 'unknown'"));
  EXPECT_EQ(host_->vserver("../x", {"start"}).exit_code, 2);
  EXPECT_EQ(host_->vserver(guest, {"dance"}).exit_code, 2);
  EXPECT_EQ(host_->left_behind(), "");
}

TEST_F(LifecycleTest, OfTwoStartsAtOnceOneDoesItAndTheOtherMeetsALockOrFindsItDone) {
  const auto guest = add();
  const auto env = host_->environment();
  Process one({VS_BINARY_DIR "/vserver", guest, "start"}, {env, {}, std::chrono::milliseconds(30000)});
  Process two({VS_BINARY_DIR "/vserver", guest, "start"}, {env, {}, std::chrono::milliseconds(30000)});
  const auto first = one.wait(), second = two.wait();
  for (const auto& result : {first, second})
    EXPECT_TRUE(result.exit_code == 0 || result.exit_code == 11) << shown(result);
  EXPECT_EQ(host_->vserver(guest, {"running"}).exit_code, 0);
}

TEST_F(LifecycleTest, PidsLimitStopsAForkBomb) {
  const auto guest = add("PIDS=30\n");
  ASSERT_EQ(host_->vserver(guest, {"start"}).exit_code, 0);
  const auto result = host_->vserver(
      guest, {"exec", "sh", "-c", "i=0; while [ $i -lt 60 ]; do sleep 20 & i=$((i+1)); done; echo all"});
  EXPECT_THAT(result.err, HasSubstr("fork")) << shown(result);
  EXPECT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
}

TEST_F(LifecycleTest, AddressesComeAndGoButNotThoseOfTheHost) {
  must_run({"ip", "addr", "add", "10.97.0.1/32", "dev", "lo"});
  const auto guest = host_->add("guest", "IPROOT=\"10.97.0.1 10.99.0.7/32\"\nIPROOTDEV=lo\n");
  ASSERT_EQ(host_->vserver(guest, {"start"}).exit_code, 0);
  EXPECT_THAT(must_run({"ip", "addr", "show", "lo"}), HasSubstr("10.99.0.7"));
  ASSERT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
  EXPECT_THAT(must_run({"ip", "addr", "show", "lo"}), testing::Not(HasSubstr("10.99.0.7")));
  EXPECT_THAT(must_run({"ip", "addr", "show", "lo"}), HasSubstr("10.97.0.1"));
  must_run({"ip", "addr", "del", "10.97.0.1/32", "dev", "lo"});
}

TEST_F(LifecycleTest, TwoGuestsServeOnePortOfTwoAddressesAndEachHasItsOwnLoopback) {
  const auto one = host_->add("one", "IPROOT=10.99.0.5\nIPROOTDEV=lo\n"),
             two = host_->add("two", "IPROOT=10.99.0.6\nIPROOTDEV=lo\n");
  std::vector<std::unique_ptr<Process>> servers;
  const auto env = host_->environment();
  for (const auto& guest : {one, two}) {
    ASSERT_EQ(host_->vserver(guest, {"start"}).exit_code, 0);
    servers.push_back(std::make_unique<Process>(
        Command{VS_BINARY_DIR "/vserver", guest, "exec", "/attacker", "serve", "80"},
        RunOptions{env, {}, std::chrono::milliseconds(60000)}));
    EXPECT_TRUE(host_->appears(guest, "/served"));
  }
  EXPECT_EQ(read_file(host_->tree(one) + "/served"), "10.99.0.5\n");
  EXPECT_EQ(read_file(host_->tree(two) + "/served"), "10.99.0.6\n");
  // The server says who asked: a client in a guest has the guest's address.
  EXPECT_EQ(host_->vserver(one, {"exec", "sh", "-c", "nc -w 2 10.99.0.6 80 </dev/null"}).out, "10.99.0.5\n");
  EXPECT_EQ(run({"busybox", "nc", "-w", "2", "10.99.0.5", "80"}).out, "10.99.0.5\n");
}

TEST_F(LifecycleTest, ListenWithoutBindIsReachableByTheGuestsAddressOnly) {
  const auto guest = add();
  ASSERT_EQ(host_->vserver(guest, {"start"}).exit_code, 0);
  const auto env = host_->environment();
  Process server({VS_BINARY_DIR "/vserver", guest, "exec", "/attacker", "listen"},
                 {env, {}, std::chrono::milliseconds(60000)});
  ASSERT_TRUE(host_->appears(guest, "/port"));
  std::string port = read_file(host_->tree(guest) + "/port");
  port.pop_back();
  EXPECT_EQ(outcome(run({VS_BINARY_DIR "/isolation_attacker", "connect", "10.99.0.5", port})), "WORKED")
      << "the harness: by its own address it is reached";
  // It listens there, too, but its answers are of an address that is not the guest's.
  EXPECT_EQ(outcome(run({VS_BINARY_DIR "/isolation_attacker", "connect", "127.0.0.1", port})), "TIMEOUT");
}

}  // namespace
}  // namespace vs::test
