// Servers on [::] and ::1 in vservers that have an IPv4 address only.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "isolation/network/address_programs.h"
#include "tests/isolation/root/isolation_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Loopback6Test : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    if (!fs::exists("/proc/self/net/if_inet6")) GTEST_SKIP() << "this kernel has no IPv6";
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
    for (int i = 0; i < 250 && !fs::exists(host_->tree(guest_) + "/served6"); ++i) ::usleep(20'000);
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
  EXPECT_EQ(host_->attack(guest_, {"connect6", "::1", "80"}).exit_code, 1) << "from inside ::1 reaches it";
  EXPECT_EQ(host_->vserver(guest_, {"exec", "sh", "-c", "nc ::1 80 </dev/null"}).out, "::1\n")
      << "and the client's address shows as ::1";
}

TEST_F(Loopback6Test, AServerForBothKindsGetsTheIpv4Address) {
  const auto server = serve6("81", "both");
  EXPECT_EQ(served(), "::ffff:10.99.0.5\n");
  EXPECT_EQ(run({VS_BINARY_DIR "/isolation_attacker", "connect", "10.99.0.5", "81"}).exit_code, 1)
      << "reached from outside";
}

TEST_F(Loopback6Test, DatagramsGoOverItsOwnLoopback) {
  const auto result = host_->attack(guest_, {"datagram6"});
  EXPECT_EQ(result.exit_code, 1) << shown(result);
  EXPECT_THAT(result.out, HasSubstr("from ::1"));
}

TEST_F(Loopback6Test, NeitherTheHostsLoopbackNorAnotherGuestsIsReached) {
  const auto server = serve6("80", "only");
  ASSERT_EQ(served(), "::1\n");
  const std::string own = isolation::loopback6_of_vserver(guest_).text();
  EXPECT_EQ(run({VS_BINARY_DIR "/isolation_attacker", "connect6", own, "80"}).exit_code, 1)
      << "the harness: the host reaches it";
  const auto other = start("other", "10.99.0.6");
  EXPECT_EQ(host_->attack(other, {"connect6", own, "80"}).exit_code, 0);
  EXPECT_EQ(host_->attack(other, {"connect6", "::1", "80"}).exit_code, 0);
  EXPECT_EQ(host_->attack(other, {"bind6", own}).exit_code, 0);
  EXPECT_EQ(host_->attack(other, {"bind6", "::1"}).exit_code, 1) << "its own is its own";
  Process host_server({VS_BINARY_DIR "/isolation_attacker", "serve-here", "::1", "7003"});
  ::usleep(200'000);
  EXPECT_EQ(host_->attack(other, {"connect6", "::1", "7003"}).exit_code, 0);
  EXPECT_EQ(run({VS_BINARY_DIR "/isolation_attacker", "connect6", "::1", "7003"}).exit_code, 1)
      << "the harness: the host reaches it";
}

TEST_F(Loopback6Test, NginxOfDebianStartsWithItsConfigurationUnchanged) {
  const auto web = host_->add_debian("web", "IPROOT=10.99.0.7\nIPROOTDEV=lo\nINIT=plain\n", "nginx-light");
  ASSERT_EQ(host_->vserver(web, {"start"}).exit_code, 0);
  EXPECT_THAT(read_file(host_->tree(web) + "/etc/nginx/sites-available/default"),
              HasSubstr("listen [::]:80"));
  const auto started = host_->vserver(web, {"exec", "nginx"});
  ASSERT_EQ(started.exit_code, 0) << shown(started);
  EXPECT_THAT(run({"busybox", "wget", "-q", "-O", "-", "http://10.99.0.7/"}).out,
              HasSubstr("Welcome to nginx"));
  EXPECT_EQ(host_->attack(guest_, {"connect", "10.99.0.7", "80"}).exit_code, 1) << "and from another guest";
}

}  // namespace
}  // namespace vs::test
