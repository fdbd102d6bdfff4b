// Guests whose files cannot share extents with those of others (NOCOW on btrfs) keep nobody else from it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tests/support/skip.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

using testing::HasSubstr;

// The files of alpha (the first, so the donor) and, with `also`, of another guest are NOCOW.
HostOptions with_nocow(const std::string& also) {
  HostOptions options;
  options.filesystem = "btrfs";
  options.guests = {"alpha", "beta", "delta", "gamma"};
  options.packages = {shared_package("tool", "usr/share/tool", 8)};
  options.prepare = [also](const FakeGuest& guest) {
    if (guest.name() != "alpha" && guest.name() != also) return;
    must_run({"sh", "-c",
              "cd \"$1\" && for f in tool-*; do : > n && chattr +C n && cat $f > n && touch -r $f n && mv n "
              "$f; done",
              "sh", guest / "usr/share/tool"});
  };
  return options;
}

TEST(ReflinkDonorTest, OneGuestKeepsNobodyElseFromSharing) {
  VS_NEEDS_FILESYSTEM("btrfs");
  TestHost alone(with_nocow("")), two(with_nocow("gamma"));
  std::this_thread::sleep_for(
      std::chrono::milliseconds(2500));  // what is younger is not remembered as shared
  const auto first = alone.vunify("run", {"--json"});
  EXPECT_EQ(first.exit_code, 0) << shown(first);
  const uint64_t three = summary_number(first, "files_linked");
  EXPECT_GT(three, 3u) << "of beta, gamma and delta";
  EXPECT_EQ(summary_number(alone.vunify("run", {"--json"}), "files_linked"), 0u) << "once is enough";

  const auto both = two.vunify("run", {"--json"});
  EXPECT_EQ(both.exit_code, 0) << shown(both);
  EXPECT_EQ(summary_number(both, "files_linked"), three)
      << "two of one kind and two of the other, less two donors";
  EXPECT_EQ(summary_number(two.vunify("run", {"--json"}), "files_linked"), 0u);
}

}  // namespace
}  // namespace vs::test
