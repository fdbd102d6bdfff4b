// Restart and stop asked from inside, and what a hostile guest can do with it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "core/unique_fd.h"
#include "tests/isolation/root/attempts.h"
#include "tests/isolation/root/isolation_host.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class RebootTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    host_ = std::make_unique<IsolationHost>();
  }
  void TearDown() override {
    if (server_) said();
  }
  std::string add(const std::string& given = "guest", const std::string& conf = "") {
    const auto name = host_->add(given, conf);
    for (const char* link : {"vreboot", "vhalt"})
      fs::copy_file(VS_BINARY_DIR "/vreboot", host_->tree(name) + "/bin/" + link);
    std::ofstream(host_->path("conf/" + name + ".sh"))
        << "#!/bin/sh\necho $1 >> " << phases_file(name) << "\n";
    fs::permissions(host_->path("conf/" + name + ".sh"), fs::perms::owner_all);
    return name;
  }
  std::string phases_file(const std::string& name) const { return host_->path(name + ".phases"); }
  std::string phases(const std::string& name) const {
    return fs::exists(phases_file(name)) ? read_file(phases_file(name)) : "";
  }
  bool running(const std::string& name) const { return host_->vserver(name, {"running"}).exit_code == 0; }
  void start(const std::string& name) {
    const auto result = host_->vserver(name, {"start"});
    ASSERT_EQ(result.exit_code, 0) << shown(result);
  }
  void serve(Command more = {}, std::map<std::string, std::string> environment = {}) {
    more.insert(more.begin(), VS_BINARY_DIR "/rebootmgr");
    environment.merge(host_->environment());
    server_ = std::make_unique<Process>(more, RunOptions{environment, {}, std::chrono::milliseconds(60000)});
  }
  // Started below rebootmgr, as its unit does.
  void serve_and_start(const std::string& name) {
    serve({"--start"}, {{"PATH", std::string(VS_BINARY_DIR) + ":/usr/sbin:/usr/bin:/sbin:/bin"}});
    ASSERT_TRUE(listened_to(name));
    ASSERT_TRUE(within(std::chrono::seconds(10), [&] { return phases(name) == "pre-start\npost-start\n"; }))
        << phases(name);
  }
  bool listened_to(const std::string& name) const {
    return within(std::chrono::seconds(10),
                  [&] { return fs::exists(host_->path("run/reboot/" + name + "/reboot")); });
  }
  // The vserver may be stopped before its own process has ended that asked for it, and that with it.
  testing::AssertionResult asks(const std::string& name, const std::string& program) const {
    const auto asked = host_->vserver(name, {"exec", program});
    if (asked.exit_code == 0 || asked.exit_code == 128 + SIGTERM || asked.exit_code == 128 + SIGKILL)
      return testing::AssertionSuccess();
    return testing::AssertionFailure() << shown(asked);
  }
  // Ends rebootmgr; what it wrote.
  std::string said() {
    server_->signal(SIGTERM);
    const auto result = server_->wait();
    EXPECT_EQ(result.exit_code, 0) << shown(result);
    server_.reset();
    return result.err;
  }
  size_t descriptors() const {
    return static_cast<size_t>(std::distance(
        fs::directory_iterator(fmt::format("/proc/{}/fd", server_->pid())), fs::directory_iterator()));
  }

  static constexpr const char* kRestarted =
      "pre-start\npost-start\npre-stop\npost-stop\npre-start\npost-start\n";
  std::unique_ptr<IsolationHost> host_;
  std::unique_ptr<Process> server_;
};

TEST_F(RebootTest, VrebootRestartsAndVhaltStops) {
  const auto guest = add();
  start(guest);
  EXPECT_EQ(host_->vserver(guest, {"exec", "vreboot"}).exit_code, 1) << "nobody listens yet";
  serve({"--pidfile", host_->path("pid")});
  ASSERT_TRUE(listened_to(guest)) << "of vservers that run already too";
  EXPECT_EQ(std::stoi(read_file(host_->path("pid"))), server_->pid());
  EXPECT_EQ(fs::status(host_->path("run/reboot/" + guest + "/reboot")).permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
  const auto not_root = host_->vserver(guest, {"suexec", "www", "vreboot"});
  EXPECT_EQ(not_root.exit_code, 1) << shown(not_root);
  EXPECT_THAT(not_root.err, HasSubstr("Permission denied")) << "root inside only";
  EXPECT_TRUE(asks(guest, "vreboot"));
  EXPECT_TRUE(within(std::chrono::seconds(20), [&] { return phases(guest) == kRestarted; })) << phases(guest);
  ASSERT_TRUE(listened_to(guest));
  EXPECT_TRUE(asks(guest, "vhalt"));
  EXPECT_TRUE(within(std::chrono::seconds(20), [&] {
    return phases(guest) == std::string(kRestarted) + "pre-stop\npost-stop\n";
  })) << phases(guest);
  EXPECT_FALSE(running(guest));
  const std::string told = said();
  EXPECT_THAT(told, HasSubstr(guest + " asks to be restarted"));
  EXPECT_THAT(told, HasSubstr(guest + " asks to be stopped"));
  EXPECT_FALSE(fs::exists(host_->path("pid")));
}

TEST_F(RebootTest, RebootTwoInsideRestartsAndItsHaltStays) {
  const auto guest = add("guest", "ONBOOT=yes\n");
  serve_and_start(guest);
  host_->vserver(guest, {"exec", "busybox", "reboot", "-f"});
  ASSERT_TRUE(within(std::chrono::seconds(20),
                     [&] { return phases(guest) == "pre-start\npost-start\npre-start\npost-start\n"; }))
      << phases(guest) << said();
  ASSERT_TRUE(listened_to(guest));
  host_->vserver(guest, {"exec", "busybox", "poweroff", "-f"});
  ASSERT_TRUE(within(std::chrono::seconds(20), [&] { return host_->left_behind().empty(); }))
      << host_->left_behind();
  EXPECT_FALSE(running(guest));
  const std::string told = said();
  EXPECT_THAT(told, HasSubstr(guest + " has rebooted"));
  EXPECT_THAT(told, HasSubstr(guest + " has halted"));
}

// Type=notify of its unit: what is ordered after it finds the vservers started.
TEST_F(RebootTest, ItTellsSystemdThatItIsReadyWhenTheVserversAreStarted) {
  const auto guest = add("guest", "ONBOOT=yes\n");
  std::ofstream(host_->path("conf/" + guest + ".sh"))
      << "#!/bin/sh\n[ $1 != post-start ] || sleep 1\necho $1 >> " << phases_file(guest) << "\n";
  const UniqueFd manager(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  const std::string path = host_->path("notify");
  path.copy(at.sun_path, sizeof at.sun_path - 1);
  ASSERT_EQ(::bind(manager.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
  serve({"--start"},
        {{"PATH", std::string(VS_BINARY_DIR) + ":/usr/sbin:/usr/bin:/sbin:/bin"}, {"NOTIFY_SOCKET", path}});
  char text[64] = "";
  const timeval patience{20, 0};
  ::setsockopt(manager.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  EXPECT_GT(::recv(manager.get(), text, sizeof text - 1, 0), 0);
  EXPECT_STREQ(text, "READY=1");
  EXPECT_EQ(phases(guest), "pre-start\npost-start\n") << "not before";
  EXPECT_TRUE(running(guest));
}

TEST_F(RebootTest, TheEndOfVserversStartedElsewhereIsSeenAndTheyStayStopped) {
  const auto other = add();
  serve();
  start(other);
  ASSERT_TRUE(listened_to(other));
  host_->vserver(other, {"exec", "busybox", "reboot", "-f"});
  EXPECT_TRUE(
      within(std::chrono::seconds(20), [&] { return !fs::exists(host_->path("run/" + other + ".held")); }));
  EXPECT_EQ(phases(other), "pre-start\npost-start\n");
  EXPECT_THAT(said(), HasSubstr("it stays stopped"));
}

TEST_F(RebootTest, WhatTheHostStopsStaysStopped) {
  const auto guest = add("guest", "INIT=rc\n");
  fs::create_directories(host_->tree(guest) + "/etc/init.d");
  // Its answer to being stopped is to reboot.
  std::ofstream(host_->tree(guest) + "/etc/init.d/rc")
      << "#!/bin/sh\n[ $1 = 0 ] && /bin/busybox reboot -f\nexit 0\n";
  fs::permissions(host_->tree(guest) + "/etc/init.d/rc", fs::perms::owner_all);
  serve();
  start(guest);
  ASSERT_TRUE(listened_to(guest));
  EXPECT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
  ::usleep(1'500'000);  // what is tested: that it is not started again for a while
  EXPECT_EQ(phases(guest), "pre-start\npost-start\npre-stop\npost-stop\n");
  EXPECT_THAT(said(), Not(HasSubstr("rebooted")));
}

TEST_F(RebootTest, AnythingElseIsAnInvalidRequestToldAFewTimesAndEscaped) {
  const auto guest = add();
  serve();
  start(guest);
  ASSERT_TRUE(listened_to(guest));
  for (int i = 0; i < 13; ++i)
    EXPECT_EQ(outcome(host_->attack(guest, {"ask", "/dev/reboot", "\033[31mreboot\n"})), "WORKED")
        << "it was taken";
  // All thirteen are read, one in a tenth of a second; those beyond ten leave no trace to wait for.
  ::usleep(1'500'000);
  EXPECT_TRUE(running(guest));
  const std::string told = said();
  EXPECT_THAT(told, HasSubstr("invalid request from vserver " + guest + ": '\\x1b[31mreboot\\n'"));
  EXPECT_THAT(told, Not(HasSubstr("\033")));
  size_t times = 0;
  for (size_t at = 0; (at = told.find("invalid request", at)) != std::string::npos; ++at) ++times;
  EXPECT_EQ(times, 10u);
}

TEST_F(RebootTest, AHostileGuestReplacesNothingAndKeepsNobodyFromBeingServed) {
  const auto hostile = add("hostile"), other = add("other");
  serve();
  start(hostile);
  start(other);
  ASSERT_TRUE(listened_to(hostile));
  ASSERT_TRUE(listened_to(other));
  const auto replaced = host_->attack(hostile, {"replace", "/dev/vserver"});
  EXPECT_EQ(replaced.exit_code, 0) << shown(replaced);
  EXPECT_THAT(replaced.out, testing::StartsWith("0 worked\n"));
  EXPECT_EQ(outcome(host_->attack(hostile, {"replace", "/proc/1/root/dev/vserver"})), "EACCES");
  // What it may do to its own /dev it does to itself.
  host_->vserver(hostile, {"exec", "sh", "-c", "rm /dev/reboot; ln -s /etc/passwd /dev/reboot"});
  Process flood({VS_BINARY_DIR "/vserver", hostile, "exec", "/attacker", "flood", "/dev/vserver/reboot"},
                {host_->environment(), {}, std::chrono::milliseconds(60000)});
  ASSERT_TRUE(host_->appears(hostile, "/flooding"));
  EXPECT_LT(descriptors(), 25u);
  EXPECT_TRUE(asks(other, "vreboot"));
  EXPECT_TRUE(within(std::chrono::seconds(20), [&] { return phases(other) == kRestarted; })) << phases(other);
  EXPECT_TRUE(fs::is_socket(host_->path("run/reboot/" + hostile + "/reboot")));
  EXPECT_EQ(
      std::distance(fs::directory_iterator(host_->path("run/reboot/" + hostile)), fs::directory_iterator()),
      1);
}

TEST_F(RebootTest, AVserverIsRestartedAtMostEveryFiveSeconds) {
  const auto guest = add("guest", "ONBOOT=yes\n");
  serve_and_start(guest);
  for (int i = 0; i < 2; ++i) {
    const auto starts = phases(guest);
    ASSERT_TRUE(listened_to(guest));
    host_->vserver(guest, {"exec", "busybox", "reboot", "-f"});
    const auto asked = std::chrono::steady_clock::now();
    ASSERT_TRUE(within(std::chrono::seconds(20),
                       [&] { return phases(guest) == starts + "pre-start\npost-start\n"; }));
    EXPECT_GT(std::chrono::steady_clock::now() - asked, std::chrono::milliseconds(i == 0 ? 0 : 2500));
  }
}

TEST_F(RebootTest, OneRebootmgrServes) {
  const auto guest = add();
  start(guest);
  serve();
  ASSERT_TRUE(listened_to(guest));
  EXPECT_EQ(host_->tool({"rebootmgr"}).exit_code, 11);
  EXPECT_EQ(host_->tool({"rebootmgr", "../x"}).exit_code, 2);
}

}  // namespace
}  // namespace vs::test
