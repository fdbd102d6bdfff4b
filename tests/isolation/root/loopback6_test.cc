// Servers on [::] and ::1 in vservers that have an IPv4 address only.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "isolation/network/address_programs.h"
#include "tests/isolation/root/attempts.h"
#include "tests/isolation/root/isolation_host.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Loopback6Test : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    if (!fs::exists("/proc/self/net/if_inet6")) VS_SKIP(kKernel) << "this kernel has no IPv6";
    host_ = std::make_unique<IsolationHost>();
    guest_ = start("guest", "10.99.0.5");
  }
  std::string start(const std::string& name, const std::string& address) {
    const auto guest = host_->add(name, "IPROOT=\"" + address + "\"\nIPROOTDEV=lo\n");
    const auto started = host_->vserver(guest, {"start"});
    EXPECT_EQ(started.exit_code, 0) << shown(started);
    return guest;
  }
  std::unique_ptr<Process> serve6(const std::string& port, const std::string& kind) {
    auto server = host_->background(guest_, {"exec", "/attacker", "serve6", port, kind});
    EXPECT_TRUE(host_->appears(guest_, "/served6"));
    return server;
  }
  std::string served() {
    return fs::exists(host_->tree(guest_) + "/served6") ? read_file(host_->tree(guest_) + "/served6")
                                                        : "not served";
  }
  std::unique_ptr<IsolationHost> host_;
  std::string guest_;
};

TEST_F(Loopback6Test, AServerForIpv6OnlyStartsBesideOneForIpv4) {
  const auto four = host_->background(guest_, {"exec", "/attacker", "serve", "80"});
  const auto six = serve6("80", "only");
  EXPECT_EQ(served(), "::1\n");
  EXPECT_EQ(outcome(host_->attack(guest_, {"connect", "::1", "80"})), "WORKED")
      << "from inside ::1 reaches it";
  EXPECT_EQ(host_->vserver(guest_, {"exec", "sh", "-c", "nc ::1 80 </dev/null"}).out, "::1\n")
      << "and the client's address shows as ::1";
}

TEST_F(Loopback6Test, AServerForBothKindsGetsTheIpv4Address) {
  const auto server = serve6("81", "both");
  EXPECT_EQ(served(), "::ffff:10.99.0.5\n");
  EXPECT_EQ(outcome(run({VS_BINARY_DIR "/isolation_attacker", "connect", "10.99.0.5", "81"})), "WORKED")
      << "reached from outside";
}

TEST_F(Loopback6Test, DatagramsGoOverItsOwnLoopback) {
  const auto result = host_->attack(guest_, {"datagram6"});
  EXPECT_EQ(result.out, "from ::1\nWORKED\n") << shown(result);
}

TEST_F(Loopback6Test, NeitherTheHostsLoopbackNorAnotherGuestsIsReached) {
  const auto server = serve6("80", "only");
  ASSERT_EQ(served(), "::1\n");
  const std::string own = isolation::loopback6_of_vserver(guest_).text();
  EXPECT_EQ(outcome(run({VS_BINARY_DIR "/isolation_attacker", "connect", own, "80"})), "WORKED")
      << "the harness: the host reaches it";
  const auto other = start("other", "10.99.0.6");
  EXPECT_EQ(outcome(host_->attack(other, {"connect", own, "80"})), "EADDRNOTAVAIL");
  EXPECT_EQ(outcome(host_->attack(other, {"connect", "::1", "80"})), "ECONNREFUSED");
  EXPECT_EQ(outcome(host_->attack(other, {"bind", own})), "EADDRNOTAVAIL");
  EXPECT_EQ(outcome(run({VS_BINARY_DIR "/isolation_attacker", "bind", own})), "WORKED");
  EXPECT_EQ(outcome(host_->attack(other, {"bind", "::1"})), "WORKED") << "its own is its own";
  Process host_server({VS_BINARY_DIR "/isolation_attacker", "serve-here", "::1", "7003"});
  EXPECT_TRUE(within(std::chrono::seconds(10), [] {
    return outcome(run({VS_BINARY_DIR "/isolation_attacker", "connect", "::1", "7003"})) == "WORKED";
  })) << "the harness: the host reaches it";
  EXPECT_EQ(outcome(host_->attack(other, {"connect", "::1", "7003"})), "ECONNREFUSED");
}

TEST_F(Loopback6Test, NginxOfDebianStartsWithItsConfigurationUnchanged) {
  VS_NEEDS_PROGRAM("mmdebstrap", "mmdebstrap");
  const auto web = host_->add_debian("web", "IPROOT=10.99.0.7\nIPROOTDEV=lo\nINIT=plain\n", "nginx-light");
  ASSERT_EQ(host_->vserver(web, {"start"}).exit_code, 0);
  EXPECT_THAT(read_file(host_->tree(web) + "/etc/nginx/sites-available/default"),
              HasSubstr("listen [::]:80"));
  const auto started = host_->vserver(web, {"exec", "nginx"});
  ASSERT_EQ(started.exit_code, 0) << shown(started);
  EXPECT_THAT(run({"busybox", "wget", "-q", "-O", "-", "http://10.99.0.7/"}).out,
              HasSubstr("Welcome to nginx"));
  EXPECT_EQ(outcome(host_->attack(guest_, {"connect", "10.99.0.7", "80"})), "WORKED")
      << "and from another guest";
}

}  // namespace
}  // namespace vs::test
