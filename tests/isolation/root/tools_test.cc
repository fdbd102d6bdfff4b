// The example sessions of the original guide, with its tools on their own.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/cgroup_freeze.h"
#include "core/guest_freezer.h"
#include "isolation/context/cgroup.h"
#include "tests/isolation/root/attempts.h"
#include "tests/isolation/root/isolation_host.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class ToolsTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    host_ = std::make_unique<IsolationHost>();
  }
  std::unique_ptr<IsolationHost> host_;
};

TEST_F(ToolsTest, ANewContextSeesOnlyItselfAndItsStatusIsTheCommands) {
  Process outside({"sleep", "300"});
  const auto result =
      host_->tool({"chcontext", "sh", "-c",
                   fmt::format("kill {} 2>/dev/null; ls -d /proc/[0-9]* | wc -l; exit 9", outside.pid())});
  EXPECT_EQ(result.exit_code, 9) << shown(result);
  EXPECT_THAT(result.out, HasSubstr("New security context is 49152\n"));
  EXPECT_TRUE(outside.running());
  std::istringstream lines(result.out);
  std::string line;
  std::getline(lines, line);
  std::getline(lines, line);
  EXPECT_LE(std::stoi(line), 5) << shown(result);
}

TEST_F(ToolsTest, ContextsNest) {
  const auto result = host_->tool(
      {"chcontext", "--silent", VS_BINARY_DIR "/chcontext", "--silent", "sh", "-c", "echo inner $$"});
  EXPECT_EQ(result.exit_code, 0) << shown(result);
  EXPECT_EQ(result.out, "inner 2\n");
}

TEST_F(ToolsTest, TheSpectatorSeesAProcessOfAnyContextAndCannotKillIt) {
  Process one({VS_BINARY_DIR "/chcontext", "--ctx", "100", "sleep", "297"},
              {host_->environment(), {}, std::chrono::milliseconds(60000)});
  // As pgrep, without the tool: the number that the host's /proc has.
  const std::string find =
      "for p in /proc/[0-9]*; do grep -aqsx 'sleep.297.' $p/cmdline && basename $p; done";
  RunResult seen;
  ASSERT_TRUE(within(std::chrono::seconds(10), [&] {
    seen = host_->tool({"chcontext", "--silent", "--ctx", "1", "sh", "-c", find});
    return !seen.out.empty();
  })) << shown(seen);
  std::string pid = seen.out.substr(0, seen.out.find('\n'));
  const auto killed = host_->tool({"chcontext", "--silent", "--ctx", "1", "sh", "-c", "kill -9 " + pid});
  EXPECT_EQ(killed.exit_code, 1) << shown(killed);
  EXPECT_THAT(killed.err, HasSubstr("No such process"));
  EXPECT_EQ(host_
                ->tool({"chcontext", "--silent", "--ctx", "1", "sh", "-c",
                        "echo 1 > /proc/" + pid + "/oom_score_adj"})
                .exit_code,
            2);
  EXPECT_TRUE(one.running());
  // In its own context it can be.
  host_->tool({"chcontext", "--silent", "--ctx", "100", "sh", "-c",
               "kill -9 2"});  // and the context ends with it, this shell too perhaps
  EXPECT_EQ(one.wait().exit_code, 137);
}

TEST_F(ToolsTest, ALockedContextMakesNoOther) {
  EXPECT_EQ(host_->tool({"chcontext", "--silent", "unshare", "-u", "true"}).exit_code, 0);
  const auto locked = host_->tool({"chcontext", "--silent", "--flag", "lock", "unshare", "-u", "true"});
  EXPECT_EQ(locked.exit_code, 1) << shown(locked);
  EXPECT_THAT(locked.err, HasSubstr("Operation not permitted"));
  EXPECT_EQ(host_->tool({"chcontext", "--flag", "locked", "true"}).exit_code, 125) << "no such flag";
}

TEST_F(ToolsTest, AContextWithUlimitOrNprocSharesItsLimits) {
  // Eight processes that fork no further, each for itself below the limit of 6: together they are not.
  const std::string many = "for i in 1 2 3 4 5 6 7 8; do sleep 1 2>/dev/null & done; wait";
  for (const char* flag : {"nproc", "ulimit"}) {
    const auto limited = run({"bash", "-c",
                              fmt::format("ulimit -Su 6; exec {}/chcontext --silent --flag {} sh -c '{}'",
                                          VS_BINARY_DIR, flag, many)},
                             {host_->environment(), {}, std::chrono::milliseconds(30000)});
    EXPECT_NE(limited.exit_code, 0) << flag << shown(limited);
    EXPECT_THAT(limited.err, HasSubstr("fork")) << flag;
  }
  const auto memory = run(
      {"bash", "-c",
       fmt::format("ulimit -Sv 40000; exec {}/chcontext --silent --flag ulimit sh -c 'cat /proc/self/cgroup'",
                   VS_BINARY_DIR)},
      {host_->environment(), {}, std::chrono::milliseconds(30000)});
  EXPECT_EQ(memory.exit_code, 0) << shown(memory);
  host_->tool({"vserver-stat"});  // sweeps
}

TEST_F(ToolsTest, AContextWithSchedIsOneGroupForTheProcessor) {
  const auto result = host_->tool(
      {"chcontext", "--flag", "sched", "sh", "-c",
       "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do for f in $d/vservers/.chcontext.*/cpu.weight "
       "$d/vservers/.chcontext.*/cpu.shares; do [ -e $f ] && cat $f; done; done; exit 5"});
  EXPECT_EQ(result.exit_code, 5) << shown(result);
  EXPECT_THAT(result.out, testing::AnyOf(HasSubstr("\n1024\n"), HasSubstr("\n100\n")));
  host_->tool({"vserver-stat"});
}

TEST_F(ToolsTest, WithHideinfoNothingInsideTellsOfContexts) {
  const std::string look =
      "ls -A " + host_->path("run") +
      "/ctx; grep -c 's_context\\|ipv4root' /proc/self/status; sed s/.*:// /proc/self/cgroup | sort -u";
  Process one({VS_BINARY_DIR "/chcontext", "--ctx", "100", "sleep", "297"},
              {host_->environment(), {}, std::chrono::milliseconds(60000)});
  EXPECT_TRUE(within(std::chrono::seconds(10), [&] {
    return host_->tool({"chcontext", "--silent", "sh", "-c", look}).out.find("100\n") != std::string::npos;
  })) << "the harness";
  EXPECT_EQ(host_->tool({"chcontext", "--silent", "--flag", "hideinfo", "sh", "-c", look}).out,
            ".lock\n0\n/\n");
  const auto nested = host_->tool({"chcontext", "--silent", "--flag", "hideinfo", VS_BINARY_DIR "/chcontext",
                                   "--silent", "echo", "inner"});
  EXPECT_EQ(nested.out, "inner\n") << shown(nested);
  host_->end(one);
}

TEST_F(ToolsTest, NobodyEntersAPrivateContextAndFakeinitIsProcessOne) {
  Process one({VS_BINARY_DIR "/chcontext", "--ctx", "101", "--flag", "private", "sleep", "297"},
              {host_->environment(), {}, std::chrono::milliseconds(60000)});
  ASSERT_TRUE(within(std::chrono::seconds(10), [&] { return fs::exists(host_->path("run/ctx/101")); }));
  const auto entered = host_->tool({"chcontext", "--ctx", "101", "true"});
  EXPECT_EQ(entered.exit_code, 125);
  EXPECT_THAT(entered.err, HasSubstr("context 101 is private"));
  EXPECT_EQ(host_->tool({"chcontext", "--silent", "--flag", "fakeinit,lock", "sh", "-c", "echo $$"}).out,
            "1\n");
  host_->end(one);
}

TEST_F(ToolsTest, NamesAndCapabilitiesOfAContext) {
  const auto named = host_->tool({"chcontext", "--hostname", "lab", "--domainname", "none", "hostname"});
  EXPECT_THAT(named.out,
              HasSubstr("Host name is now lab\nDomain name is now none\nNew security context is "));
  EXPECT_THAT(named.out, testing::EndsWith("\nlab\n"));
  for (const Command& denied : {Command{"--secure"}, Command{"--cap", "!CAP_NET_ADMIN"}}) {
    Command command = {"chcontext"};
    command.insert(command.end(), denied.begin(), denied.end());
    command.insert(command.end(), {"ip", "link", "set", "lo", "mtu", "60000"});
    const auto result = host_->tool(command);
    EXPECT_EQ(result.exit_code, 2) << shown(result);
    EXPECT_THAT(result.err, HasSubstr("Operation not permitted"));
  }
  EXPECT_EQ(host_
                ->tool({"chcontext", "--secure", "--cap", "CAP_NET_ADMIN", "ip", "link", "set", "lo", "mtu",
                        "65536"})
                .exit_code,
            0);
}

TEST_F(ToolsTest, AnOrdinaryUserMakesAContextAndStaysWhoHeIs) {
  // Of tests' directories nobody else may use, so the program is copied to where he may.
  const std::string program = "/tmp/" + fmt::format("chcontext-{}", ::getpid());
  fs::copy_file(VS_BINARY_DIR "/chcontext", program);
  fs::permissions(program, fs::perms::owner_all | fs::perms::others_read | fs::perms::others_exec);
  const auto result = run({program, "--silent", "sh", "-c", "id -u; echo $$; grep CapBnd /proc/self/status"},
                          {{}, 65534, std::chrono::milliseconds(30000)});
  fs::remove(program);
  if (result.err.find("make namespaces") != std::string::npos)
    VS_SKIP(kKernel) << "no user namespaces for ordinary users here: " << result.err;
  EXPECT_EQ(result.out, "65534\n2\nCapBnd:\t0000000000000000\n") << shown(result);
}

TEST_F(ToolsTest, AfterReducecapEvenSuCannotConfigureAnInterface) {
  EXPECT_EQ(host_->tool({"reducecap", "--NET_RAW", "ip", "link", "set", "lo", "mtu", "65536"}).exit_code, 0)
      << "the harness";
  for (const Command& denied : {Command{"--secure", "ip", "link", "set", "lo", "mtu", "60000"},
                                Command{"--NET_ADMIN", "su", "-c", "ip link set lo mtu 60000"}}) {
    Command command = {"reducecap"};
    command.insert(command.end(), denied.begin(), denied.end());
    const auto result = host_->tool(command);
    EXPECT_EQ(result.exit_code, 2) << shown(result);
    EXPECT_THAT(result.err, HasSubstr("Operation not permitted"));
  }
  EXPECT_THAT(host_->tool({"reducecap", "--NET_RAW", "--show"}).out,
              testing::ContainsRegex("NET_RAW +\\. +\\. +\\. +\\."));
  EXPECT_EQ(host_->tool({"reducecap", "--NO_SUCH", "true"}).exit_code, 125);
}

TEST_F(ToolsTest, ChbindShowsTheChosenAddressToServersAndClients) {
  must_run({"ip", "addr", "add", "10.98.0.9/32", "dev", "lo"});
  const std::string attacker = VS_BINARY_DIR "/isolation_attacker";
  Process server(
      {VS_BINARY_DIR "/chbind", "--silent", "--ip", "10.98.0.9", "busybox", "nc", "-l", "-p", "8080"});
  EXPECT_TRUE(within(std::chrono::seconds(10), [] {
    const auto sockets = read_file("/proc/self/net/tcp6") + read_file("/proc/self/net/tcp");
    return sockets.find("0900620A:1F90") != std::string::npos;
  })) << "0.0.0.0:8080 became 10.98.0.9:8080";
  EXPECT_EQ(outcome(run({attacker, "connect", "127.0.0.1", "8080"})), "ECONNREFUSED");
  const auto tied = [&](const char* address) {
    return outcome(host_->tool({"chbind", "--silent", "--ip", "10.98.0.9", attacker, "bind", address}));
  };
  EXPECT_EQ(tied("127.0.0.1"), "EADDRNOTAVAIL");
  EXPECT_EQ(outcome(run({attacker, "bind", "127.0.0.1"})), "WORKED") << "outside of chbind";
  EXPECT_EQ(tied("10.98.0.9"), "WORKED");
  EXPECT_THAT(host_->tool({"chbind", "--ip", "10.98.0.9", "true"}).out,
              HasSubstr("ipv4root is now 10.98.0.9\n"));
  EXPECT_EQ(host_->tool({"chbind", "--ip", "no.such.name.invalid", "true"}).exit_code, 125);
  server.signal(SIGKILL);
  server.wait();
  host_->tool({"vserver-stat"});  // sweeps
  must_run({"ip", "addr", "del", "10.98.0.9/32", "dev", "lo"});
}

TEST_F(ToolsTest, WhoHasAnIPv6AddressOnlyIsTiedToIt) {
  must_run({"ip", "addr", "add", "fd00:98::9/128", "dev", "lo"});
  const auto shown_address = host_->tool({"chbind", "--ip", "fd00:98::9", "true"});
  EXPECT_EQ(shown_address.exit_code, 0) << shown(shown_address);
  const std::string attacker = VS_BINARY_DIR "/isolation_attacker";
  EXPECT_EQ(outcome(host_->tool({"chbind", "--silent", "--ip", "fd00:98::9", attacker, "bind", "0.0.0.0"})),
            "EADDRNOTAVAIL");
  EXPECT_EQ(outcome(run({attacker, "bind", "0.0.0.0"})), "WORKED") << "outside of chbind";
  const auto guest = host_->add("guest", "IPROOT=\"fd00:98::9\"\n");
  const auto started = host_->vserver(guest, {"start"});
  EXPECT_EQ(started.exit_code, 0) << shown(started);
  EXPECT_EQ(outcome(host_->attack(guest, {"bind", "0.0.0.0"})), "EADDRNOTAVAIL");
  EXPECT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
  must_run({"ip", "addr", "del", "fd00:98::9/128", "dev", "lo"});
}

TEST_F(ToolsTest, AFrozenGuestStandsStillAndGoesOn) {
  const auto guest = host_->add("guest", "");
  ASSERT_EQ(host_->vserver(guest, {"start"}).exit_code, 0);
  host_->vserver(guest, {"exec", "sh", "-c", "(while :; do echo x >> /count; done) >/dev/null 2>&1 &"});
  ASSERT_TRUE(host_->appears(guest, "/count"));
  const auto size = [&] { return fs::file_size(host_->tree(guest) + "/count"); };
  {
    const auto frozen = make_cgroup_freezer()->freeze({guest, "vserver", RootDir(host_->tree(guest))},
                                                      std::chrono::seconds(5));
    ASSERT_TRUE(frozen) << frozen.error().message;
    const auto before = size();
    ::usleep(200'000);  // what is tested: that nothing happens for a while
    EXPECT_EQ(size(), before);
  }
  const auto before = size();
  EXPECT_TRUE(within(std::chrono::seconds(10), [&] { return size() > before; }));
  EXPECT_EQ(host_->vserver(guest, {"freeze"}).exit_code, 0);
  EXPECT_THAT(host_->vserver(guest, {"status"}).out, HasSubstr("frozen"));
  EXPECT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0) << "stop thaws";
}

TEST_F(ToolsTest, VserversStartsWhatIsMarkedInItsOrderAndOneMistakeDoesNotStopTheOthers) {
  const auto first = host_->add("b", "ONBOOT=yes\nPRIORITY=10\n"),
             second = host_->add("a", "ONBOOT=yes\nPRIORITY=20\n"), unmarked = host_->add("c", "ONBOOT=no\n"),
             wrong = host_->add("d", "ONBOOT=perhaps\n");
  for (const auto& name : {first, second}) {
    std::ofstream(host_->path("conf/" + name + ".sh"))
        << "#!/bin/sh\n[ $1 = pre-start ] && echo $2 >> " << host_->path("order") << "\nexit 0\n";
    fs::permissions(host_->path("conf/" + name + ".sh"), fs::perms::owner_all);
  }
  const auto result = host_->tool({"vservers", "start"});
  EXPECT_EQ(result.exit_code, 1) << shown(result);
  EXPECT_THAT(result.err, HasSubstr(wrong + ".conf:1: ONBOOT: expected yes or no"));
  EXPECT_EQ(read_file(host_->path("order")), first + "\n" + second + "\n");
  EXPECT_EQ(host_->vserver(unmarked, {"running"}).exit_code, 1);
  EXPECT_EQ(host_->vserver(second, {"running"}).exit_code, 0);
  EXPECT_EQ(host_->tool({"vservers", "stop"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(second, {"running"}).exit_code, 1);
}

}  // namespace
}  // namespace vs::test
