#include "isolation/vserver/vserver_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "core/error.h"

namespace vs::isolation {
namespace {

using testing::HasSubstr;

std::string trouble(const std::string& text) {
  try {
    parse_vserver_config("web", "web.conf", text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::usage);
    return error.what();
  }
  return "";
}

TEST(VserverConfigTest, UnderstandsTheExampleOfTheOriginalGuide) {
  const auto config =
      parse_vserver_config("web", "web.conf",
                           "IPROOT=\"eth0:192.168.1.2 eth1:192.168.3.1/255.255.255.192 "
                           "192.168.1.4\"\nIPROOTDEV=eth2\nIPROOTMASK=255.255.255.0\nIPROOTBCAST=\n"
                           "ONBOOT=yes\nS_CAPS=\"CAP_NET_RAW "
                           "!CAP_SYS_CHROOT\"\nS_CONTEXT=100\nS_DOMAINNAME=none\nS_HOSTNAME=www\nS_NICE="
                           "5\nS_FLAGS=\"lock nproc fakeinit\"\nULIMIT=\"-H -u 1000\"\n"
                           "PRIORITY=20\nPROFILE=backup\n");
  ASSERT_EQ(config.addresses.size(), 3u);
  EXPECT_EQ(config.addresses[0].device, "eth0");
  EXPECT_EQ(config.addresses[0].text(), "192.168.1.2");
  EXPECT_EQ(config.addresses[0].prefix, 24u);
  EXPECT_EQ(config.addresses[1].prefix, 26u);
  EXPECT_EQ(config.addresses[2].device, "eth2");
  EXPECT_TRUE(config.has_own_addresses);
  EXPECT_TRUE(config.onboot);
  EXPECT_EQ(config.context, 100u);
  EXPECT_EQ(config.priority, 20);
  EXPECT_EQ(config.profile, "backup");
  EXPECT_TRUE(config.has_flag("fakeinit"));
  EXPECT_EQ(config.keep() & capability_named("NET_RAW"), capability_named("NET_RAW"));
  EXPECT_EQ(config.keep() & capability_named("SYS_CHROOT"), 0u);
  ASSERT_EQ(config.rlimits.size(), 1u);
  EXPECT_EQ(config.rlimits[0].first, RLIMIT_NPROC);
  EXPECT_EQ(config.rlimits[0].second, 1000u);
}

TEST(VserverConfigTest, IsNotTiedWhereTheOriginalWasNot) {
  for (const char* text : {"", "IPROOT=\n", "IPROOT=0.0.0.0\n", "IPROOT=ALL\n"})
    EXPECT_FALSE(parse_vserver_config("web", "web.conf", text).has_own_addresses) << text;
}

TEST(VserverConfigTest, KeepsNoCapabilityThatUndoesTheConfinement) {
  const auto keep = parse_vserver_config("web", "web.conf", "").keep();
  for (const char* name :
       {"SYS_ADMIN", "LINUX_IMMUTABLE", "DAC_READ_SEARCH", "MKNOD", "SYS_MODULE", "SYS_RAWIO", "SYS_PTRACE",
        "NET_ADMIN", "NET_RAW", "SYS_TIME", "BPF", "PERFMON", "CHECKPOINT_RESTORE", "SYSLOG", "MAC_ADMIN"})
    EXPECT_EQ(keep & capability_named(name), 0u) << name;
}

TEST(VserverConfigTest, NamesFileLineKeyAndWhatWasExpected) {
  EXPECT_THAT(trouble("\nS_NICE=high\n"),
              HasSubstr("web.conf:2: S_NICE: expected a number from -20 to 19, found 'high'"));
  EXPECT_THAT(trouble("IPROOT=\"1.2.3.4 eth0:\"\n"),
              HasSubstr("web.conf:1: IPROOT: expected [INTERFACE:]ADDRESS"));
  EXPECT_THAT(trouble("S_FLAGS=\"lock fast\"\n"), HasSubstr("web.conf:1: S_FLAGS: expected one of: lock"));
  EXPECT_THAT(trouble("S_CAPS=CAP_ALL\n"), HasSubstr("web.conf:1: S_CAPS: expected names of capabilities"));
  EXPECT_THAT(trouble("HOSTNAME=x\n"), HasSubstr("web.conf:1: HOSTNAME: expected a key that is known"));
  EXPECT_THAT(trouble("MEMORY=much\n"), HasSubstr("MEMORY: expected a number of bytes"));
  EXPECT_THAT(trouble("BIND=/a\n"), HasSubstr("BIND: expected /host/directory:/guest/directory"));
  EXPECT_THAT(trouble("GUARD=abstract-sockets\n"), HasSubstr("GUARD: expected !NAME"));
}

TEST(VserverConfigTest, RefusesNamesThatLeadElsewhere) {
  for (const char* name : {"", "..", "../x", "a/b", "-x", ".x", "a b", "a\n"})
    EXPECT_THROW(check_vserver_name(name), Error) << name;
  EXPECT_NO_THROW(check_vserver_name("web-1.example_2"));
}

}  // namespace
}  // namespace vs::isolation
