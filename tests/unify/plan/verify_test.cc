// Runs twice, the second time with VS_NO_OPENAT2=1.
#include "unify/plan/verify.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/xattr.h>
#include <tbb/global_control.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "tests/support/skip.h"
#include "tests/unify/fixture.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

using enum DigestAlgorithm;

constexpr size_t kBlock = 256 * 1024;

class VerifyTest : public testing::Test {
 protected:
  void look() {
    host_->scan();
    host_->find_candidates();
  }
  // The only group's verdict.
  GroupVerdict verify() {
    look();
    return verify_now();
  }
  GroupVerdict verify_now() {
    EXPECT_THAT(host_->candidates.groups, SizeIs(1));
    const VerifyInput input = host_->verify_input();
    GroupVerifier verifier(input);
    GroupVerdict verdict = verifier.verify(host_->candidates.groups[0]);
    bytes_read_ = verifier.bytes_read();
    return verdict;
  }
  std::string name(CandidateNumber duplicate) const {
    const FileRow& row = row_of_duplicate(host_->verify_input(), duplicate);
    return host_->guests[host_->files.table.guest(row)].name;
  }
  std::vector<std::string> names(const std::vector<CandidateNumber>& duplicates) const {
    std::vector<std::string> all;
    for (const CandidateNumber v : duplicates) all.push_back(name(v));
    return all;
  }
  std::set<std::pair<std::string, std::string_view>> refused(const GroupVerdict& verdict) const {
    std::set<std::pair<std::string, std::string_view>> all;
    for (const auto& [duplicate, reason] : verdict.refused) all.emplace(name(duplicate), reason_name(reason));
    return all;
  }
  std::unique_ptr<unit::Host> host_ =
      std::make_unique<unit::Host>(std::vector<std::string>{"a", "b", "c", "d"});
  uint64_t bytes_read_ = 0;
};

TEST_F(VerifyTest, ReadsNoMoreOfAGuestThanItsBudget) {
  for (const char* guest : {"a", "b", "c"}) host_->file(guest, "x", std::string(kBlock, 'x'));
  for (const char* path : {"y", "z"}) host_->file("c", path, std::string(2 * kBlock, 'y'));
  look();
  ASSERT_THAT(host_->candidates.groups, SizeIs(2));
  ReadBudget budget(4, 3 * kBlock);
  VerifyInput input = host_->verify_input();
  input.budget = &budget;
  GroupVerifier verifier(input);
  const auto first = verifier.verify(host_->candidates.groups[0]);
  ASSERT_THAT(first.contents, SizeIs(1));
  EXPECT_THAT(names(first.contents[0].duplicates), ElementsAre("a", "b", "c"));
  const auto second = verifier.verify(host_->candidates.groups[1]);
  EXPECT_THAT(refused(second), ElementsAre(std::pair("c", "no_partner"), std::pair("c", "read_budget")));
  ASSERT_THAT(second.troubles, SizeIs(1));
  EXPECT_THAT(second.troubles[0].second, testing::EndsWith("/z")) << "named";
}

TEST_F(VerifyTest, WhereBytesAloneAreSharedAttributesDoNotMatter) {
  host_->rules.bytes_only = true;
  for (const char* guest : {"a", "b"}) host_->file(guest, "x", "same");
  if (::setxattr(host_->path("b", "x").c_str(), "user.of", "b", 1, 0) != 0)
    VS_SKIP(kFilesystem) << "no user attributes here";
  const auto verdict = verify();
  ASSERT_THAT(verdict.contents, SizeIs(1));
  EXPECT_THAT(names(verdict.contents[0].duplicates), ElementsAre("a", "b"));
}

TEST_F(VerifyTest, IsStoppedInTheMidstOfAFile) {
  for (const char* guest : {"a", "b"}) host_->file(guest, "x", std::string(3 * kBlock, 'x'));
  look();
  Cancel cancel;
  cancel.request();
  VerifyInput input = host_->verify_input();
  input.cancel = &cancel;
  GroupVerifier verifier(input);
  const auto verdict = verifier.verify(host_->candidates.groups[0]);
  EXPECT_THAT(verdict.contents, IsEmpty());
  EXPECT_THAT(refused(verdict), ElementsAre(std::pair("a", "out_of_time"), std::pair("b", "out_of_time")));
  EXPECT_EQ(verifier.bytes_read(), 0u);
}

TEST_F(VerifyTest, FindsWhatIsEqualByteForByte) {
  host_->file("a", "x", "one");
  host_->file("b", "x", "two");
  host_->file("c", "x", "one");
  host_->file("d", "x", "two");
  const auto verdict = verify();
  ASSERT_THAT(verdict.contents, SizeIs(2));
  EXPECT_THAT(names(verdict.contents[0].duplicates), ElementsAre("a", "c"));
  EXPECT_THAT(names(verdict.contents[1].duplicates), ElementsAre("b", "d"));
  EXPECT_EQ(verdict.contents[0].content, xxh128("one"));
  EXPECT_EQ(verdict.contents[1].content, xxh128("two"));
  EXPECT_THAT(verdict.refused, IsEmpty());
}

TEST_F(VerifyTest, ReadsEachFileOnce) {
  const std::string content(3 * kBlock + 17, 'x');
  host_->everywhere("x", content);
  verify();
  EXPECT_EQ(bytes_read_, 4 * content.size());
}

TEST_F(VerifyTest, StopsReadingWhatDiffersFromAllOthers) {
  std::string content(4 * kBlock, 'x');
  host_->everywhere("x", content);
  content[10] = 'y';
  host_->file("b", "x", content);
  const auto verdict = verify();
  EXPECT_EQ(bytes_read_, 3 * content.size() + kBlock);
  EXPECT_THAT(refused(verdict), ElementsAre(std::pair("b", "no_partner")));
}

// The difference lies in each place in turn: the first byte, the edges of blocks, the last byte.
TEST_F(VerifyTest, SeesADifferenceWhereverItIs) {
  const std::string content(2 * kBlock + 5, 'x');
  for (const size_t at : {size_t{0}, kBlock - 1, kBlock, 2 * kBlock - 1, 2 * kBlock, content.size() - 1}) {
    std::string other = content;
    other[at] = 'y';
    for (const char* guest : {"a", "c"}) host_->file(guest, "x", content);
    for (const char* guest : {"b", "d"}) host_->file(guest, "x", other);
    const auto verdict = verify();
    ASSERT_THAT(verdict.contents, SizeIs(2)) << at;
    EXPECT_THAT(names(verdict.contents[0].duplicates), ElementsAre("a", "c")) << at;
    EXPECT_EQ(verdict.contents[0].content, xxh128(content)) << at;
    EXPECT_EQ(verdict.contents[1].content, xxh128(other))
        << "the hash of one that split off late is of the whole, " << at;
  }
}

TEST_F(VerifyTest, EqualBytesWithOtherAttributesAreNotTheSame) {
  host_->everywhere("x", "same");
  for (const char* guest : {"b", "d"})
    if (::setxattr(host_->path(guest, "x").c_str(), "user.note", "1", 1, 0) != 0)
      VS_SKIP(kFilesystem) << "no user attributes here";
  const auto verdict = verify();
  ASSERT_THAT(verdict.contents, SizeIs(2));
  EXPECT_THAT(names(verdict.contents[0].duplicates), ElementsAre("a", "c"));
  EXPECT_THAT(names(verdict.contents[1].duplicates), ElementsAre("b", "d"));
  EXPECT_EQ(verdict.contents[0].xattrs, 0u);
  EXPECT_NE(verdict.contents[1].xattrs, 0u);
}

TEST_F(VerifyTest, LeavesFilesWithCapabilities) {
  host_->everywhere("x", "same");
  const unsigned char capability[20] = {1, 0, 0, 2, 0, 4};  // version 2, cap_net_bind_service... any will do
  if (::setxattr(host_->path("b", "x").c_str(), "security.capability", capability, sizeof capability, 0) != 0)
    VS_SKIP(kRoot) << "setting capabilities needs root";
  EXPECT_THAT(refused(verify()), ElementsAre(std::pair("b", "capability")));
}

TEST_F(VerifyTest, AFileThatIsNotWhatWasScannedIsLeft) {
  host_->everywhere("x", "same");
  look();
  host_->file("b", "x", "some");  // as long, as old
  const auto verdict = verify_now();
  EXPECT_THAT(refused(verdict), ElementsAre(std::pair("b", "changed_meanwhile")));
  EXPECT_THAT(names(verdict.contents.at(0).duplicates), ElementsAre("a", "c", "d"));
}

TEST_F(VerifyTest, NothingThatTookTheFilesPlaceIsReadOrWaitedFor) {
  host_->everywhere("x", "same");
  look();
  for (const char* guest : {"b", "c", "d"}) ASSERT_EQ(::unlink(host_->path(guest, "x").c_str()), 0);
  unit::make_fifo(host_->path("b", "x"));
  unit::write_file(host_->dir() + "/host-secret", "same");
  unit::make_symlink(host_->dir() + "/host-secret", host_->path("c", "x"));
  unit::make_dirs(host_->path("d", "x"));
  EXPECT_THAT(refused(verify_now()),
              UnorderedElementsAre(std::pair("a", "no_partner"), std::pair("b", "changed_meanwhile"),
                                   std::pair("c", "changed_meanwhile"), std::pair("d", "changed_meanwhile")));
}

// --- What the package database records ---------------------------------------------------------------------

TEST_F(VerifyTest, WhatIsNotWhatTheDatabaseRecordsIsNotPristine) {
  host_->everywhere("usr/x", "evil");
  for (const char* guest : {"a", "b", "c", "d"}) host_->record(guest, "usr/x", "good", md5);
  const auto verdict = verify();
  ASSERT_THAT(verdict.contents, SizeIs(1));
  EXPECT_THAT(verdict.contents[0].duplicates, IsEmpty());
  EXPECT_THAT(names(verdict.contents[0].changed), ElementsAre("a", "b", "c", "d"));
}

TEST_F(VerifyTest, EachMemberMustBeWhatItsOwnDatabaseRecords) {
  host_->everywhere("usr/x", "good");
  host_->record("a", "usr/x", "good", md5);
  host_->record("b", "usr/x", "good", sha256);
  host_->record("c", "usr/x", "evil", sha256);
  host_->record("d", "usr/x", "good", sha1);
  const auto verdict = verify();
  ASSERT_THAT(verdict.contents, SizeIs(1));
  EXPECT_THAT(names(verdict.contents[0].duplicates), UnorderedElementsAre("a", "b", "d"));
  EXPECT_THAT(names(verdict.contents[0].changed), ElementsAre("c"));
}

TEST_F(VerifyTest, EveryKindOfDigestIsProved) {
  for (const auto algorithm : {md5, sha1, sha224, sha256, sha384, sha512}) {
    host_ = std::make_unique<unit::Host>(std::vector<std::string>{"a", "b"});
    host_->everywhere("usr/x", "good");
    for (const char* guest : {"a", "b"}) host_->record(guest, "usr/x", "good", algorithm);
    EXPECT_THAT(names(verify().contents.at(0).duplicates), ElementsAre("a", "b")) << digest_name(algorithm);
  }
}

// --- Large groups and threads ------------------------------------------------------------------------------

// More members than are opened at a time; the parts are joined by hash (apply compares bytes once more).
TEST_F(VerifyTest, TakesGroupsLargerThanItOpensAtATime) {
  for (int i = 0; i < 900; ++i) host_->file("a", "x" + std::to_string(i), i == 450 ? "some" : "same");
  const auto verdict = verify();
  size_t members = 0;
  for (const auto& content : verdict.contents) members = std::max(members, content.duplicates.size());
  EXPECT_EQ(members, 899u);
}

TEST_F(VerifyTest, ComesToTheSameVerdictsWithAnyNumberOfThreads) {
  for (size_t i = 0; i < 60; ++i)
    for (const char* guest : {"a", "b", "c", "d"})
      host_->file(guest, "f" + std::to_string(i),
                  std::string(i + 1, i % 3 == 0 && *guest == 'c' ? 'y' : 'x'));
  look();
  const Index nothing(host_->dir() + "/none", true);
  std::vector<std::string> plans;
  for (const size_t threads : {1, 2, 8}) {
    tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads);
    const auto made =
        make_plan(host_->verify_input(),
                  verify_candidates(host_->verify_input(), nothing, host_->context.run), false, nullptr);
    PlanHeader header;
    for (const auto& guest : host_->guests) header.trees.push_back({guest.name, "", 0, 0});
    plans.push_back(plan_text(header, made.plan, host_->files.table));
  }
  EXPECT_EQ(plans[0], plans[1]);
  EXPECT_EQ(plans[0], plans[2]);
  EXPECT_GT(plans[0].size(), 10'000u);
}

TEST_F(VerifyTest, CancelledItRefusesTheRestForTime) {
  host_->everywhere("x", "same");
  look();
  host_->context.cancel.request();
  const auto verdicts = verify_candidates(host_->verify_input(), *host_->index, host_->context.run);
  EXPECT_THAT(refused(verdicts.at(0)), SizeIs(4));
  EXPECT_EQ(verdicts[0].refused[0].second, Reason::out_of_time);
}

// --- The index ---------------------------------------------------------------------------------------------

TEST_F(VerifyTest, ReadsNothingOfAGroupThatTheIndexKnows) {
  host_->everywhere("x", "same");
  look();
  std::vector<Index::Learned> all;
  for (const auto& row : host_->files.table.rows())
    all.push_back(
        {host_->files.devices.front(), row, {xxh128("same"), 0, true, host_->candidates.groups[0].key, 0}});
  host_->index->learn({all.begin(), all.end() - 1});
  EXPECT_FALSE(verify_candidates(host_->verify_input(), *host_->index, host_->context.run).at(0).from_index)
      << "one is not known";
  host_->index->learn(all);
  const auto verdicts = verify_candidates(host_->verify_input(), *host_->index, host_->context.run);
  EXPECT_TRUE(verdicts.at(0).from_index);
  EXPECT_THAT(names(verdicts[0].contents.at(0).duplicates), ElementsAre("a", "b", "c", "d"));
}

// The database may record something else by now: what was proved was proved for that key only.
TEST_F(VerifyTest, WhatTheIndexKnowsOfAnotherRecordIsReadAgain) {
  host_->everywhere("x", "same");
  look();
  std::vector<Index::Learned> all;
  for (const auto& row : host_->files.table.rows())
    all.push_back({host_->files.devices.front(), row, {xxh128("same"), 0, true, {1, 1}, 0}});
  host_->index->learn(all);
  EXPECT_FALSE(verify_candidates(host_->verify_input(), *host_->index, host_->context.run).at(0).from_index);
}

}  // namespace
}  // namespace vs::unify
