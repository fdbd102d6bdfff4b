// Real guests, as their distributions make them: each kind of init, servers with unchanged configuration,
// several of them at ports 80 and 22 at once.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>

#include "tests/isolation/root/isolation_host.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class RealGuestTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    for (const char* program : {"mmdebstrap", "rpm", "alien"}) VS_NEEDS_PROGRAM(program, program);
    host_ = std::make_unique<IsolationHost>();
    write_file(host_->path("vservers.conf"), "STOP_TIMEOUT=30\n");
  }
  // `number` tells the guests' addresses apart.
  std::string add_debian(const std::string& name, int number, const std::string& packages,
                         const std::string& more = "") {
    return host_->add_debian(name, fmt::format("IPROOT=10.99.0.{}\nIPROOTDEV=lo\n{}", number, more),
                             packages + " nginx openssh-server");
  }
  RunResult inside(const std::string& guest, std::vector<std::string> words) const {
    words.insert(words.begin(), "exec");
    return host_->vserver(guest, words);
  }
  void start(const std::string& guest) const {
    const auto started = host_->vserver(guest, {"start"});
    ASSERT_EQ(started.exit_code, 0) << shown(started);
  }
  void stop(const std::string& guest) const {
    const auto stopped = host_->vserver(guest, {"stop"});
    EXPECT_EQ(stopped.exit_code, 0) << shown(stopped);
    EXPECT_EQ(host_->vserver(guest, {"running"}).exit_code, 1);
  }
  // The page of the guest's nginx and the greeting of its sshd, fetched from the host.
  void expect_servers(const std::string& guest, int number) const {
    const std::string address = fmt::format("10.99.0.{}", number);
    EXPECT_TRUE(within(30s,
                       [&] {
                         return run({"busybox", "wget", "-q", "-O", "-", "http://" + address + "/"})
                                    .out.find("Welcome to nginx") != std::string::npos;
                       }))
        << guest << shown(inside(guest, {"cat", "/run/boot.log", "/var/log/nginx/error.log"}));
    EXPECT_TRUE(within(30s,
                       [&] {
                         return run({"sh", "-c", "sleep 0.3 | busybox nc -w 5 " + address + " 22"})
                             .out.starts_with("SSH-2.0");
                       }))
        << guest << shown(inside(guest, {"cat", "/run/boot.log"}));
  }
  std::unique_ptr<IsolationHost> host_;
};

TEST_F(RealGuestTest, ServersOfEachInitShareThePortsUnchanged) {
  struct Kind {
    const char *name, *packages, *conf, *process_1;
  };
  // sysv: the runlevel script is preferred to an init that is there, unless INIT says so. plain: nothing is
  // started, the servers are by hand.
  constexpr Kind kinds[] = {{"systemd", "systemd-sysv dbus", "", "systemd"},
                            {"sysv", "sysvinit-core", "INIT=sysv\n", "init"},
                            {"rc", "sysvinit-core", "", "init"},
                            {"none", "", "", "init"}};
  std::vector<std::string> guests;
  for (const auto& kind : kinds)
    guests.push_back(add_debian(kind.name, static_cast<int>(10 + guests.size()), kind.packages, kind.conf));
  for (const auto& guest : guests) ASSERT_NO_FATAL_FAILURE(start(guest));
  for (size_t i = 0; i < guests.size(); ++i) {
    SCOPED_TRACE(kinds[i].name);
    EXPECT_EQ(inside(guests[i], {"cat", "/proc/1/comm"}).out, std::string(kinds[i].process_1) + "\n");
    expect_servers(guests[i], static_cast<int>(10 + i));
    EXPECT_EQ(inside(guests[i], {"dpkg", "--audit"}).exit_code, 0);
  }
  for (const auto& guest : guests) stop(guest);
  EXPECT_EQ(host_->left_behind(), "");
}

TEST_F(RealGuestTest, SystemdSaysThatAllIsUpAndEndsInOrder) {
  const auto guest = add_debian("systemd", 10, "systemd-sysv dbus");
  ASSERT_NO_FATAL_FAILURE(start(guest));
  std::string state;
  EXPECT_TRUE(within(60s,
                     [&] {
                       return (state = inside(guest, {"systemctl", "is-system-running"}).out) == "running\n";
                     }))
      << state << inside(guest, {"systemctl", "list-units", "--failed"}).out
      << inside(guest, {"journalctl", "-b", "--no-pager", "-p", "warning"}).out;
  EXPECT_EQ(inside(guest, {"systemctl", "restart", "nginx"}).exit_code, 0);
  expect_servers(guest, 10);
  EXPECT_THAT(inside(guest, {"systemd-run", "--wait", "--pipe", "cat", "/proc/self/cgroup"}).out,
              HasSubstr("/system.slice/run-"))
      << "units have cgroups of their own";
  EXPECT_THAT(inside(guest, {"mount", "-t", "tmpfs", "none", "/mnt"}).err, HasSubstr("permission denied"));
  const auto before = std::chrono::steady_clock::now();
  stop(guest);
  EXPECT_LT(std::chrono::steady_clock::now() - before, 25s) << "it ended by itself, not by the kernel's kill";

  EXPECT_EQ(host_->left_behind(), "");
}

TEST_F(RealGuestTest, ARpmGuestWithoutAnInitRunsCommands) {
  const auto guest =
      host_->add_real("rpm", "IPROOT=10.99.0.20\nIPROOTDEV=lo\n",
                      {"rpm", "", "sqlite", "perl binutils bash libc-bin coreutils grep sed less"});
  ASSERT_NO_FATAL_FAILURE(start(guest));
  EXPECT_EQ(inside(guest, {"cat", "/proc/1/comm"}).out, "init\n")
      << "our own, under the name that ps inside shall show";
  EXPECT_EQ(inside(guest, {"perl", "-e", "print 6*7"}).out, "42");
  EXPECT_EQ(inside(guest, {"bash", "-c", "echo one two | sed s/two/three/"}).out, "one three\n");
  stop(guest);
  EXPECT_EQ(host_->left_behind(), "");
}

}  // namespace
}  // namespace vs::test
