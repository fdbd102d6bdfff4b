#include "unify/survey.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unify/fixture.h"

namespace vs::unify {
namespace {

constexpr uint64_t kBlock = 4096;

// Three guests: a file of two blocks that all have, one that a and b have, and one that only c has.
class SurveyTest : public unit::HostTest {
 protected:
  std::vector<std::string> names() const override { return {"a", "b", "c"}; }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().everywhere("usr/all", std::string(2 * kBlock, 'x'));
    for (const char* guest : {"a", "b"}) host().file(guest, "usr/two", std::string(kBlock, 'y'));
    host().file("c", "usr/own", std::string(3 * kBlock, 'z'));
  }
  Savings look() {
    options_.trees.clear();
    for (const char* guest : {"a", "b", "c"})
      options_.trees.push_back(std::string(guest) + "=" + host().path(guest));
    options_.state = host().state();
    options_.store = host().store_path();
    options_.guard = "immutable";
    options_.scope = "all";
    host().index.reset();  // one environment a process
    const OpenedPool pool = look_at_pool(take_inventory(options_, host().context.run), host().context.run);
    const auto packages = load_guest_packages(pool.guests(), std::nullopt, host().context.run);
    return survey(pool, packages, host().context.run);
  }
  Options options_;
};

TEST_F(SurveyTest, BeforeUnificationEachGuestHasAllItsOwn) {
  const Savings savings = look();
  ASSERT_EQ(savings.guests.size(), 3u);
  for (const auto& guest : savings.guests) {
    EXPECT_EQ(guest.on_disk, guest.exclusive) << guest.name;
    EXPECT_EQ(guest.shared, 0u);
    EXPECT_EQ(guest.files_unified, 0u);
  }
  EXPECT_EQ(savings.guests[0].on_disk, 3 * kBlock);
  EXPECT_EQ(savings.guests[2].on_disk, 5 * kBlock);
  EXPECT_EQ(savings.disk_used, 11 * kBlock);
  EXPECT_EQ(savings.saved, 0u);
}

TEST_F(SurveyTest, TheNumbersAddUp) {
  host().unify();
  ASSERT_EQ(host().counts.files_linked, 5u);
  const Savings savings = look();
  const GuestSavings &a = savings.guests.at(0), &c = savings.guests.at(2);
  EXPECT_EQ(a.files, 2u);
  EXPECT_EQ(a.files_unified, 2u);
  EXPECT_EQ(a.apparent, 3 * kBlock);
  EXPECT_EQ(a.on_disk, 3 * kBlock);
  EXPECT_EQ(a.exclusive, 0u);
  EXPECT_EQ(a.shared, 3 * kBlock);
  EXPECT_EQ(c.exclusive, 3 * kBlock);
  EXPECT_EQ(c.shared, 2 * kBlock);
  EXPECT_EQ(savings.masters, 2u);
  EXPECT_EQ(savings.names_of_masters, 5u);
  EXPECT_EQ(savings.master_bytes, 3 * kBlock);
  EXPECT_EQ(savings.disk_used, 6 * kBlock);
  EXPECT_EQ(savings.saved, 5 * kBlock);
  uint64_t fair = 0, on_disk = 0;
  for (const auto& guest : savings.guests) {
    fair += guest.fair_share;
    on_disk += guest.on_disk;
    EXPECT_EQ(guest.on_disk, guest.exclusive + guest.shared) << guest.name;
  }
  EXPECT_NEAR(static_cast<double>(fair), static_cast<double>(savings.disk_used), 8)
      << "fair shares sum to the disk in use";
  EXPECT_EQ(on_disk - savings.disk_used, savings.saved);
}

TEST_F(SurveyTest, AGuestsOwnHardLinksAreHeldOnce) {
  host().link("c", "usr/own", "usr/link");
  const Savings savings = look();
  EXPECT_EQ(savings.guests[2].files, 3u);
  EXPECT_EQ(savings.guests[2].apparent, 8 * kBlock);
  EXPECT_EQ(savings.guests[2].on_disk, 5 * kBlock);
  EXPECT_EQ(savings.guests[2].exclusive, 5 * kBlock);
  EXPECT_EQ(savings.disk_used, 11 * kBlock);
}

// What deleting the guest would not free is not exclusively its own.
TEST_F(SurveyTest, AnInodeWithNamesElsewhereIsNotExclusive) {
  std::filesystem::create_hard_link(host().path("c", "usr/own"), host().dir() + "/elsewhere");
  const Savings savings = look();
  EXPECT_EQ(savings.guests[2].exclusive, 2 * kBlock);
  EXPECT_EQ(savings.guests[2].on_disk, 5 * kBlock);
}

TEST_F(SurveyTest, LooksWithoutWriting) {
  std::filesystem::remove_all(host().store_path());
  std::filesystem::remove_all(host().state());
  look();
  EXPECT_FALSE(unit::exists(host().store_path()));
}

}  // namespace
}  // namespace vs::unify
