// A guest makes cgroups below its own as it pleases.
#include "isolation/context/cgroup.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/isolation/root/isolation_host.h"
#include "tests/support/deep_tree.h"
#include "tests/support/skip.h"

namespace vs::isolation {
namespace {

// Deeper than FewDescriptors has descriptors; the kernel takes long to make and remove cgroups in one
// another.
constexpr size_t kDeepCgroups = 400;

TEST(CgroupDepthTest, CgroupsOfAnyDepthAreCountedAndRemoved) {
  VS_NEEDS_ISOLATION();
  const Cgroups cgroups;
  const std::string name = fmt::format("t{}-deep", ::getpid());
  ASSERT_TRUE(cgroups.make(name, {}));
  try {
    test::make_nested(cgroups.path(name) + "/guest", kDeepCgroups);
  } catch (const std::exception& error) {
    static_cast<void>(cgroups.remove(name).has_value());
    VS_SKIP(kKernel) << "this kernel nests no cgroups so deep: " << error.what();
  }
  const test::FewDescriptors few;
  EXPECT_EQ(cgroups.processes(name), 0u);
  const auto removed = cgroups.remove(name);
  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_FALSE(std::filesystem::exists(cgroups.path(name)));
}

}  // namespace
}  // namespace vs::isolation
