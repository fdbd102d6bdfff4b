#include "isolation/tools/package_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vs::isolation {
namespace {

TEST(PackageCommandTest, InstalledPackagesThatAptWouldReplaceOrRemove) {
  EXPECT_THAT(
      packages_to_change("Reading package lists...\nInst libc6 [2.36-9] (2.36-10 Debian:12 [amd64]) []\nInst "
                         "libc6:i386 [2.36-9] (2.36-10 [i386])\nInst new (1 Debian:12 [amd64])\n"
                         "Remv perl-base [5.36]\nConf libc6 (2.36-10 Debian:12 [amd64])\n"),
      testing::ElementsAre("libc6", "perl-base"));
}

TEST(PackageCommandTest, WhatAHostileGuestPrintsIsNoOption) {
  EXPECT_THAT(packages_to_change("Inst --help [1] (2)\nInst ../../x [1] (2)\nInst a;b [1] (2)\nInst\n"),
              testing::IsEmpty());
}

}  // namespace
}  // namespace vs::isolation
