#include "isolation/network/bind_address.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace vs::isolation {
namespace {

TEST(BindAddressTest, ReadsAllSpellings) {
  EXPECT_EQ(parse_address("192.168.1.2").text(), "192.168.1.2");
  EXPECT_EQ(parse_address("192.168.1.2/24").prefix, 24u);
  EXPECT_EQ(parse_address("eth0:192.168.1.2/255.255.255.192").prefix, 26u);
  EXPECT_EQ(parse_address("eth0:192.168.1.2").device, "eth0");
  const auto six = parse_address("eth0:fd00::5/64");
  EXPECT_TRUE(six.v6);
  EXPECT_EQ(six.text(), "fd00::5");
  EXPECT_EQ(six.device, "eth0");
  EXPECT_EQ(six.prefix, 64u);
  EXPECT_EQ(parse_address("fd00::5").device, "");
}

TEST(BindAddressTest, RefusesWhatIsNoAddress) {
  for (const char* text : {"", "eth0", "eth0:", ":1.2.3.4", "1.2.3", "1.2.3.4/33", "1.2.3.4/0", "1.2.3.4/",
                           "1.2.3.4/255.0.255.0", "fd00::5/129", "averyveryverylongname:1.2.3.4"})
    EXPECT_THROW(parse_address(text), Error) << text;
}

}  // namespace
}  // namespace vs::isolation
