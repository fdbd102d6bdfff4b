#include "isolation/bpf/kernel_types.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support/skip.h"
#include "tests/support/temp_dir.h"

namespace vs::isolation {
namespace {

TEST(KernelTypesTest, FindsMembersAndFunctionsOfTheRunningKernel) {
  if (::access("/sys/kernel/btf/vmlinux", R_OK) != 0) VS_SKIP(kKernel) << "this kernel has no BTF";
  const auto types = KernelTypes::read();
  ASSERT_TRUE(types) << types.error().message;
  // Fixed by their meaning: the address families' common head begins with the family, a list's next pointer
  // is its first word.
  EXPECT_EQ(types->offset("sockaddr", "sa_family"), 0u);
  EXPECT_EQ(types->offset("list_head", "next"), 0u);
  EXPECT_EQ(types->offset("list_head", "prev"), sizeof(void*));
  EXPECT_TRUE(types->function("do_exit"));
  EXPECT_FALSE(types->function("no_such_function"));
  EXPECT_FALSE(types->offset("list_head", "no_such_member"));
  EXPECT_FALSE(types->offset("no_such_structure", "next"));
}

TEST(KernelTypesTest, RefusesWhatIsNoBtf) {
  const test::TempDir dir;
  EXPECT_FALSE(KernelTypes::read(dir / "missing"));
  for (const std::string& content : {std::string(), std::string("short"), std::string(100, 'x'),
                                     std::string("\x9f\xeb\x01\x00\x18\x00\x00\x00\x00\x00\x00\x00\xff\xff"
                                                 "\xff\x7f\x00\x00\x00\x00\x00\x00\x00\x00",
                                                 24)}) {
    test::write_file(dir / "btf", content);
    EXPECT_FALSE(KernelTypes::read(dir / "btf")) << content.size();
  }
}

}  // namespace
}  // namespace vs::isolation
