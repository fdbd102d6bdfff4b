// A host of three guests that share the six files of one package, sealed; what each had then is known.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/support/skip.h"
#include "tests/support/test_host.h"

namespace vs::test {

class UnifiedHostTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_FILESYSTEM("ext4");
    HostOptions options;
    options.packages = {shared_package("tool", "usr/share/tool", 6)};
    host_ = std::make_unique<TestHost>(options);
    ASSERT_EQ(host_->vunify("run").exit_code, 0);
    before_ = host_->snapshots();
    for (const auto& guest : host_->guests()) ASSERT_TRUE(is_immutable(file(guest.name())));
  }
  // One of the shared files.
  std::string file(const std::string& guest) const { return host_->guest(guest) / "usr/share/tool/tool-3"; }
  std::unique_ptr<TestHost> host_;
  std::vector<TreeSnapshot> before_;
};

}  // namespace vs::test
