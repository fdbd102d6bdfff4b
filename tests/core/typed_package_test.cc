#include "core/typed_package.h"

#include <gtest/gtest.h>

namespace vs {
namespace {

TEST(TypedPackageTest, FitsByBinaryNameSourceNameAndNameWithArchitecture) {
  const auto fits = [](const char* typed) { return TypedPackage(typed).fits("libc6", "glibc", "amd64"); };
  EXPECT_TRUE(fits("libc6"));
  EXPECT_TRUE(fits("glibc"));
  EXPECT_TRUE(fits("libc6:amd64"));
  for (const char* other : {"libc6:i386", "libc6:", "glibc:amd64", "libc", "amd64", ":amd64", ":", ""})
    EXPECT_FALSE(fits(other)) << other;
}

}  // namespace
}  // namespace vs
