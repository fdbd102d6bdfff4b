#include "unify/plan/link_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tbb/global_control.h>

#include <thread>

#include "tests/unify/fixture.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

using enum DigestAlgorithm;

class LinkPlanTest : public testing::Test {
 protected:
  // Names of a group, duplicate by duplicate.
  std::vector<std::string> names(const PlanGroup& group) const {
    std::vector<std::string> all;
    for (DuplicateNumber v = group.begin; v < group.end; ++v)
      for (NameNumber n = host_.link_plan.duplicates[v].begin; n < host_.link_plan.duplicates[v].end; ++n) {
        const FileRow& row = host_.files.table.rows()[host_.link_plan.names[n]];
        all.push_back(host_.guests[host_.files.table.guest(row)].name + ":" + host_.files.table.path(row));
      }
    return all;
  }
  // A verdict made by hand for the only group of candidates.
  std::vector<GroupVerdict> one_verdict(const std::vector<size_t>& duplicates,
                                        const std::vector<size_t>& changed,
                                        std::optional<MasterNumber> master) const {
    GroupVerdict verdict;
    verdict.contents.push_back(
        {{duplicates.begin(), duplicates.end()}, {changed.begin(), changed.end()}, {1, 2}, 3, master});
    std::vector<GroupVerdict> all;
    all.push_back(std::move(verdict));
    return all;
  }
  void look() {
    host_.scan();
    host_.find_candidates();
    ASSERT_THAT(host_.candidates.groups, SizeIs(1));
  }
  LinkPlan make(std::vector<GroupVerdict> verdicts, bool reflink = false, Index* index = nullptr) {
    MadePlan made = make_plan(host_.verify_input(), std::move(verdicts), reflink, index);
    host_.files.add(made.counts);
    return std::move(made.plan);
  }
  unit::Host host_{{"a", "b", "c"}};
};

TEST_F(LinkPlanTest, HasAGroupForEachContentWithAllItsNames) {
  host_.everywhere("usr/x", "same");
  host_.link("a", "usr/x", "usr/y");
  host_.plan();
  ASSERT_THAT(host_.link_plan.groups, SizeIs(1));
  const PlanGroup& group = host_.link_plan.groups.front();
  EXPECT_THAT(names(group), ElementsAre("a:usr/x", "a:usr/y", "b:usr/x", "c:usr/x"));
  EXPECT_EQ(group.end - group.begin, 3u);
  EXPECT_EQ(group.content, xxh128("same"));
  EXPECT_EQ(group.size, 4u);
  EXPECT_EQ(group.master, std::nullopt);
  EXPECT_EQ(host_.link_plan.file_count(), 4u);
}

TEST_F(LinkPlanTest, CarriesWhatThePackageDatabaseSays) {
  host_.everywhere("usr/x", "same");
  for (const char* guest : {"a", "b", "c"}) host_.record(guest, "usr/x", "same", sha256);
  host_.plan();
  ASSERT_THAT(host_.link_plan.groups, SizeIs(1));
  const PlanGroup& group = host_.link_plan.groups.front();
  EXPECT_EQ(group.algorithm, sha256);
  EXPECT_EQ(group.digest, unit::digest_of(sha256, "same"));
  EXPECT_EQ(host_.link_plan.packages[group.package].name, "pkg");
  EXPECT_THAT(group.keys, ElementsAre(host_.candidates.groups[0].key));
}

TEST_F(LinkPlanTest, AMixedGroupAnswersToTheKeysOfAllItsDuplicates) {
  host_.everywhere("usr/x", "same");
  host_.record("a", "usr/x", "same", md5);
  host_.record("b", "usr/x", "same", sha256);
  host_.record("c", "usr/x", "same", md5);
  host_.plan();
  ASSERT_THAT(host_.link_plan.groups, SizeIs(1));
  EXPECT_THAT(host_.link_plan.groups.front().keys, SizeIs(2));
}

TEST_F(LinkPlanTest, ADuplicateAloneIsLeftUnlessAMasterIsThere) {
  host_.everywhere("x", "same");
  look();
  EXPECT_THAT(make(one_verdict({0}, {}, std::nullopt)).groups, IsEmpty());
  EXPECT_EQ(host_.refused(Reason::no_partner), 1u);
  MasterRecord record;
  record.name = "ab/cd";
  const MasterNumber master = host_.masters.add(record);
  const LinkPlan plan = make(one_verdict({0}, {}, master));
  ASSERT_THAT(plan.groups, SizeIs(1));
  EXPECT_EQ(plan.groups.front().master, "ab/cd");
}

// What a project counts for, and nobody else has, would count for nobody.
TEST_F(LinkPlanTest, AContentIsOfItsOwnProjectIfOneCountedGuestAloneHasIt) {
  host_.everywhere("x", "same");
  look();
  const auto input = host_.verify_input();
  const auto is_own = [&](std::vector<size_t> duplicates, std::vector<bool> counted) {
    TypedBits<GuestNumber> bits;
    for (const bool one : counted) bits.push_back(one);
    VerifiedContent content;
    for (const size_t one : duplicates) content.duplicates.emplace_back(one);
    return is_of_own_project(input, bits, content);
  };
  EXPECT_TRUE(is_own({0}, {true, true, true}));
  EXPECT_FALSE(is_own({0}, {false, true, true})) << "it counts for nobody as it is";
  EXPECT_FALSE(is_own({0, 1}, {true, true, true})) << "two have it";
  EXPECT_FALSE(is_own({0, 2}, {true, false, false})) << "one of them counts for nobody";
}

TEST_F(LinkPlanTest, WhatIsNotPristineIsCountedAndNotPlanned) {
  host_.everywhere("x", "same");
  look();
  const LinkPlan plan = make(one_verdict({0}, {1, 2}, std::nullopt));
  EXPECT_THAT(plan.groups, IsEmpty());
  EXPECT_EQ(host_.refused(Reason::not_pristine), 2u);
  EXPECT_EQ(host_.refused(Reason::no_partner), 1u);
}

TEST_F(LinkPlanTest, TellsTheBytesThatAreSavedInWholeBlocks) {
  LinkPlan plan;
  PlanGroup fresh, existing;
  fresh.size = 5000;
  fresh.end = DuplicateNumber(3);
  existing.size = 4096;
  existing.begin = DuplicateNumber(3);
  existing.end = DuplicateNumber(5);
  existing.master = "ab/cd";
  plan.groups = {fresh, existing};
  EXPECT_EQ(plan.bytes_to_save(4096), 2 * 8192u + 2 * 4096u);
}

// --- What the index learns ---------------------------------------------------------------------------------

class LearningTest : public LinkPlanTest {
 protected:
  size_t known() const {
    size_t count = 0;
    for (const auto& row : host_.files.table.rows())
      count += host_.index->known(host_.files.devices.front(), row).has_value();
    return count;
  }
  static void wait() { std::this_thread::sleep_for(std::chrono::nanoseconds(kRacyNs + 200'000'000)); }
};

TEST_F(LearningTest, WhatKeepsItsInodeIsNotReadAgain) {
  host_.everywhere("x", "same");
  host_.file("b", "x", "some");
  wait();
  look();
  host_.make_plan(host_.index.get(), true);
  EXPECT_EQ(known(), 2u);
  const auto& row = host_.files.table.rows().front();
  EXPECT_EQ(host_.index->known(host_.files.devices.front(), row)->content, xxh128("same"));
}

TEST_F(LearningTest, WhatIsAboutToBeLinkedIsNotLearned) {
  host_.everywhere("x", "same");
  wait();
  look();
  host_.make_plan(host_.index.get());
  EXPECT_EQ(known(), 0u);
}

TEST_F(LearningTest, LearnsWhatIsNotPristineToo) {
  host_.everywhere("usr/x", "evil");
  for (const char* guest : {"a", "b", "c"}) host_.record(guest, "usr/x", "good", md5);
  wait();
  look();
  host_.make_plan(host_.index.get());
  EXPECT_EQ(known(), 3u);
  EXPECT_FALSE(host_.index->known(host_.files.devices.front(), host_.files.table.rows().front())->pristine);
}

// A write within the same tick of the clock as the ctime we saw would leave no trace.
TEST_F(LearningTest, WhatChangedJustNowIsNotTrusted) {
  host_.everywhere("x", "same");
  look();
  host_.make_plan(host_.index.get());
  EXPECT_EQ(known(), 0u);
}

// What counts is when it was read, not when the plan is made: a run over many guests reads for minutes.
TEST_F(LearningTest, WhatHadJustChangedWhenItWasReadIsNotTrustedLater) {
  host_.everywhere("x", "same");
  look();
  auto verdicts = host_.verify();
  wait();
  make(std::move(verdicts), false, host_.index.get());
  EXPECT_EQ(known(), 0u);
}

// --- Reflink: files stay what they are, so the index must tell which share already -------------------------

class ReflinkPlanTest : public LinkPlanTest {
 protected:
  void shares(CandidateNumber duplicate, uint64_t group) {
    const FileRow& row = row_of_duplicate(host_.verify_input(), duplicate);
    host_.index->learn({{host_.files.devices.front(), row, {{1, 2}, 3, true, {}, group}}});
  }
};

TEST_F(ReflinkPlanTest, NothingIsPlannedForFilesThatAllShareAlready) {
  host_.everywhere("x", "same");
  look();
  for (const size_t v : {0, 1, 2}) shares(CandidateNumber(v), 77);
  EXPECT_THAT(make(one_verdict({0, 1, 2}, {}, std::nullopt), true, host_.index.get()).groups, IsEmpty());
  EXPECT_EQ(host_.files.total().unified, 3u);
}

TEST_F(ReflinkPlanTest, CountsTheCopiesThatAreNotThere) {
  host_.everywhere("x", "same");
  look();
  for (const size_t v : {0, 1, 2}) shares(CandidateNumber(v), 77);
  const auto made =
      make_plan(host_.verify_input(), one_verdict({0, 1, 2}, {}, std::nullopt), true, host_.index.get());
  EXPECT_EQ(made.bytes_shared_before, 2 * 4u);
}

// Another key (rules that changed, say) has it read again; what it shares stays known, for that key.
TEST_F(ReflinkPlanTest, WhatIsReadAgainIsLearnedForItsNewKeyAndStillShares) {
  host_.everywhere("x", "same");
  look();
  shares(CandidateNumber(0), 77);
  auto verdicts = one_verdict({0, 1}, {}, std::nullopt);
  verdicts[0].read_at_ns = INT64_MAX;
  make_plan(host_.verify_input(), std::move(verdicts), true, host_.index.get());
  const auto known = host_.index->known(host_.files.devices.front(),
                                        row_of_duplicate(host_.verify_input(), CandidateNumber(0)));
  ASSERT_TRUE(known);
  EXPECT_EQ(known->shared_with, 77u);
  EXPECT_EQ(known->recorded, host_.candidates.groups[0].key);
}

TEST_F(ReflinkPlanTest, OneThatSharesIsTheDonorForThoseThatDoNot) {
  host_.everywhere("x", "same");
  look();
  shares(CandidateNumber(1), 77);
  shares(CandidateNumber(2), 77);
  const LinkPlan plan = make(one_verdict({0, 1, 2}, {}, std::nullopt), true, host_.index.get());
  ASSERT_THAT(plan.groups, SizeIs(1));
  host_.link_plan = plan;
  EXPECT_EQ(plan.groups.front().shared_with, 77u);
  EXPECT_THAT(names(plan.groups.front()), ElementsAre("b:x", "a:x"));
}

}  // namespace
}  // namespace vs::unify
