// NETWORK=private: a guest with a network namespace of its own, in each of the ways it is attached.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include "tests/isolation/root/attempts.h"
#include "tests/isolation/root/isolation_host.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class PrivateNetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    host_ = std::make_unique<IsolationHost>();
  }
  void TearDown() override {
    for (const auto& link : links_) run({"ip", "link", "del", link});
  }
  // Of the host, gone with the test.
  void make_link(const std::string& name, std::vector<std::string> words) {
    links_.push_back(name);
    words.insert(words.begin(), {"ip", "link", "add", name, "type"});
    if (const auto made = run(words); made.exit_code != 0)
      VS_SKIP(kKernel) << "this kernel makes no such interface: " << shown(made);
    must_run({"ip", "link", "set", name, "up"});
  }
  std::string start(const std::string& name, const std::string& conf) {
    const auto guest = host_->add(name, "NETWORK=private\n" + conf);
    const auto started = host_->vserver(guest, {"start"});
    EXPECT_EQ(started.exit_code, 0) << shown(started);
    return guest;
  }
  std::unique_ptr<Process> serve(const std::string& guest) {
    auto server = host_->background(guest, {"exec", "/attacker", "serve", "80"});
    EXPECT_TRUE(host_->appears(guest, "/served"));
    EXPECT_EQ(read_file(host_->tree(guest) + "/served"), "0.0.0.0\n")
        << "in a network of its own it is bound to what it asked for";
    return server;
  }
  // A server of the host answers there.
  static bool served_at(const std::string& address) {
    return within(std::chrono::seconds(10), [&] {
      return outcome(run({VS_BINARY_DIR "/isolation_attacker", "connect", address, "80"})) == "WORKED";
    });
  }
  std::string ask(const std::string& address) {
    return run({"busybox", "nc", "-w", "3", address, "80"}, {{}, {}, std::chrono::milliseconds(5000)}).out;
  }
  std::string ask_from(const std::string& guest, const std::string& address) {
    return host_->vserver(guest, {"exec", "sh", "-c", fmt::format("nc -w 3 {} 80 </dev/null", address)}).out;
  }
  std::unique_ptr<IsolationHost> host_;
  std::vector<std::string> links_;
};

TEST_F(PrivateNetworkTest, RoutedItIsReachedAndReachesTheHost) {
  const auto guest = start("guest", "IPROOT=\"10.98.1.2 fd00:98::2\"\n");
  const auto server = serve(guest);
  EXPECT_NE(ask("10.98.1.2"), "");
  must_run({"ip", "addr", "add", "10.97.1.1/32", "dev", "lo"});
  {
    Process host_server({VS_BINARY_DIR "/isolation_attacker", "serve-here", "10.97.1.1", "80"});
    EXPECT_TRUE(served_at("10.97.1.1"));
    EXPECT_EQ(ask_from(guest, "10.97.1.1"), "10.98.1.2\n") << "the host sees the guest's address";
  }
  must_run({"ip", "addr", "del", "10.97.1.1/32", "dev", "lo"});
  const auto six = host_->background(guest, {"exec", "/attacker", "serve6", "81", "only"});
  EXPECT_TRUE(host_->appears(guest, "/served6"));
  EXPECT_EQ(outcome(run({VS_BINARY_DIR "/isolation_attacker", "connect", "fd00:98::2", "81"})), "WORKED")
      << "over IPv6, too";
  EXPECT_THAT(host_->vserver(guest, {"status"}).out, HasSubstr("network"));
  EXPECT_THAT(must_run({"ip", "link"}), HasSubstr("vserver " + guest));
  ASSERT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
  EXPECT_EQ(host_->left_behind(), "");
  EXPECT_THAT(must_run({"ip", "route"}), Not(HasSubstr("10.98.1.2")));
}

TEST_F(PrivateNetworkTest, OnABridgeGuestsReachEachOtherAndTheHost) {
  make_link("vstbr0", {"bridge"});
  if (IsSkipped()) return;
  must_run({"ip", "addr", "add", "10.98.2.1/24", "dev", "vstbr0"});
  const auto one = start("one", "IPROOT=vstbr0:10.98.2.2/24\nGATEWAY=10.98.2.1\n"),
             two = start("two", "IPROOT=vstbr0:10.98.2.3/24\n");
  const auto server = serve(one);
  EXPECT_EQ(ask("10.98.2.2"), "10.98.2.1\n");
  EXPECT_EQ(ask_from(two, "10.98.2.2"), "10.98.2.3\n");
  EXPECT_THAT(host_->vserver(one, {"exec", "ip", "route"}).out, HasSubstr("default via 10.98.2.1"));
  EXPECT_THAT(must_run({"ip", "link", "show", "vstbr0"}), HasSubstr("vstbr0"));
}

TEST_F(PrivateNetworkTest, OnAnOrdinaryInterfaceItGetsAMacvlan) {
  make_link("vstup0", {"veth", "peer", "name", "vstup1"});
  if (IsSkipped()) return;
  must_run({"ip", "link", "set", "vstup1", "up"});
  must_run({"ip", "addr", "add", "10.98.3.1/24", "dev", "vstup1"});
  const auto guest = start("guest", "IPROOT=vstup0:10.98.3.2/24\n");
  const auto server = serve(guest);
  EXPECT_EQ(ask("10.98.3.2"), "10.98.3.1\n");
  ASSERT_EQ(host_->vserver(guest, {"stop"}).exit_code, 0);
  EXPECT_EQ(ask("10.98.3.2"), "");
}

TEST_F(PrivateNetworkTest, AnotherAddressIsOfNoUseEvenToWhoMayConfigureInterfaces) {
  make_link("vstbr1", {"bridge"});
  if (IsSkipped()) return;
  must_run({"ip", "addr", "add", "10.98.4.1/24", "dev", "vstbr1"});
  const auto guest = start("guest", "IPROOT=vstbr1:10.98.4.2/24\nS_CAPS=\"CAP_NET_ADMIN CAP_NET_RAW\"\n");
  Process host_server({VS_BINARY_DIR "/isolation_attacker", "serve-here", "10.98.4.1", "80"});
  EXPECT_TRUE(served_at("10.98.4.1"));
  EXPECT_EQ(ask_from(guest, "10.98.4.1"), "10.98.4.2\n") << "the harness: by its own address it works";
  ASSERT_EQ(host_->vserver(guest, {"exec", "ip", "addr", "add", "10.98.4.9/24", "dev", "eth0"}).exit_code, 0);
  ASSERT_EQ(host_->vserver(guest, {"exec", "ip", "addr", "del", "10.98.4.2/24", "dev", "eth0"}).exit_code, 0);
  host_->vserver(guest, {"exec", "ip", "addr", "add", "10.98.4.9/24", "dev",
                         "eth0"});  // a secondary address went with the first
  EXPECT_THAT(host_->vserver(guest, {"exec", "ip", "addr"}).out, HasSubstr("10.98.4.9"));
  // Silence: the filter drops what it sends, or what comes back.
  EXPECT_EQ(outcome(host_->attack(guest, {"connect", "10.98.4.1", "80"})), "TIMEOUT");
  const auto server = host_->background(guest, {"exec", "/attacker", "serve", "80"});
  EXPECT_TRUE(host_->appears(guest, "/served"));
  EXPECT_EQ(outcome(run({VS_BINARY_DIR "/isolation_attacker", "connect", "10.98.4.9", "80"})), "TIMEOUT")
      << "nor is it reached by it";
}

TEST_F(PrivateNetworkTest, WithoutAnAddressItHasItsLoopbackOnly) {
  const auto guest = start("guest", "");
  const auto server = serve(guest);
  EXPECT_EQ(ask_from(guest, "127.0.0.1"), "127.0.0.1\n");
  EXPECT_THAT(host_->vserver(guest, {"exec", "ip", "link"}).out, Not(HasSubstr("eth0")));
  EXPECT_THAT(host_->vserver(guest, {"exec", "ip", "route"}).out, "");
}

TEST_F(PrivateNetworkTest, AStartKilledAtAnyMomentLeavesNoInterface) {
  const auto guest = host_->add("guest", "NETWORK=private\nIPROOT=10.98.5.2\n");
  for (const char* step : {"addresses", "cgroup", "network", "context", "state"}) {
    const auto killed = host_->vserver(guest, {"start"}, {{"VS_DIE_AFTER_STEP", step}});
    EXPECT_TRUE(killed.signal == SIGKILL || killed.exit_code == 1) << step << shown(killed);
    if (std::string(step) == "state") host_->vserver(guest, {"stop"});  // it was up already
    EXPECT_EQ(host_->vserver(guest, {"running"}).exit_code, 1) << step;
    EXPECT_EQ(host_->left_behind(), "") << step;
  }
}

TEST_F(PrivateNetworkTest, TroubleIsNamedAndLeavesNothing) {
  const auto guest = host_->add("guest", "NETWORK=private\nIPROOT=nosuch0:10.98.6.2\n");
  EXPECT_THAT(host_->vserver(guest, {"start"}).err, HasSubstr("nosuch0"));
  host_->configure(guest, "NETWORK=private\nIPROOT=10.98.6.2\nGATEWAY=10.98.7.1\n");
  EXPECT_THAT(host_->vserver(guest, {"start"}).err, HasSubstr("10.98.7.1"))
      << "a gateway that none of its interfaces leads to";
  EXPECT_EQ(host_->left_behind(), "");
  host_->configure(guest, "IPROOT=10.99.0.5\nGATEWAY=10.98.7.1\n");
  EXPECT_THAT(host_->vserver(guest, {"start"}).err, HasSubstr("GATEWAY: expected NETWORK=private"));
  host_->configure(guest, "NETWORK=private\nGATEWAY=somewhere\n");
  EXPECT_THAT(host_->vserver(guest, {"start"}).err, HasSubstr("GATEWAY: expected ADDRESS of a gateway"));
}

}  // namespace
}  // namespace vs::test
