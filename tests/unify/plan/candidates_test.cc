#include "unify/plan/candidates.h"
#include "unify/plan/candidate_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "tests/unify/fixture.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

using enum DigestAlgorithm;

// No master is made here, so nothing needs to be sealed.
class CandidatesTest : public testing::Test {
 protected:
  // The groups as "guest:path guest:path", each duplicate's first name.
  std::vector<std::string> groups() {
    host_.scan();
    host_.find_candidates();
    std::vector<std::string> all;
    for (const auto& group : host_.candidates.groups) {
      std::string text;
      for (CandidateNumber v = group.begin; v < group.end; ++v) text += (text.empty() ? "" : " ") + name(v);
      all.push_back(text);
    }
    return all;
  }
  std::string name(CandidateNumber duplicate) const {
    const FileRow& row =
        host_.files.table.rows()[host_.candidates.names[host_.candidates.duplicates[duplicate].begin]];
    return host_.guests[host_.files.table.guest(row)].name + ":" + host_.files.table.path(row);
  }
  unit::Host host_;
};

TEST_F(CandidatesTest, FilesOfOneSizeAndClassAreAGroupInScopeAll) {
  host_.everywhere("usr/x", "1234");
  host_.file("a", "usr/other", "abcd");
  host_.file("a", "usr/longer", "12345");
  EXPECT_THAT(groups(), ElementsAre("a:usr/other a:usr/x b:usr/x"));
  EXPECT_EQ(host_.refused(Reason::no_partner), 1u);
}

TEST_F(CandidatesTest, FilesOfAnotherClassAreInNoGroupWithIt) {
  host_.everywhere("mode", "1");
  host_.everywhere("mtime", "22");
  host_.everywhere("owner", "333");
  ::chmod(host_.path("b", "mode").c_str(), 0600);
  unit::set_mtime(host_.path("b", "mtime"), unit::kMtime + 1);                      // one nanosecond
  const bool another_owner = ::chown(host_.path("b", "owner").c_str(), 5, 0) == 0;  // root only
  EXPECT_THAT(groups(), SizeIs(another_owner ? 0 : 1));
}

TEST_F(CandidatesTest, TheTimeDoesNotMatterWhereItIsToBeIgnored) {
  host_.everywhere("x", "1");
  unit::set_mtime(host_.path("b", "x"), 1);
  host_.rules.ignore_mtime = true;
  EXPECT_THAT(groups(), ElementsAre("a:x b:x"));
}

TEST_F(CandidatesTest, InScopePackagesTheRecordedDigestDecides) {
  host_.everywhere("usr/x", "same");
  host_.everywhere("usr/y", "diff");
  for (const char* guest : {"a", "b"}) host_.record(guest, "usr/x", "same", md5);
  host_.record("a", "usr/y", "diff", md5);
  host_.record("b", "usr/y", "difg", md5);
  EXPECT_THAT(groups(), ElementsAre("a:usr/x b:usr/x"));
}

// One content under two names is one file as far as a digest tells.
TEST_F(CandidatesTest, TheSameDigestUnderAnotherPathIsTheSameFile) {
  host_.file("a", "usr/x", "same");
  host_.file("b", "opt/y", "same");
  host_.record("a", "usr/x", "same", sha256);
  host_.record("b", "opt/y", "same", sha256);
  EXPECT_THAT(groups(), ElementsAre("a:usr/x b:opt/y"));
}

TEST_F(CandidatesTest, WithoutADigestPackageVersionArchitectureAndPathMustBeTheSame) {
  host_.everywhere("usr/same", "x1");
  host_.everywhere("usr/version", "x2");
  host_.everywhere("usr/package", "x3");
  host_.everywhere("usr/arch", "x4");
  for (const char* guest : {"a", "b"}) host_.record(guest, unit::Host::Record{.path = "usr/same"});
  host_.record("a", unit::Host::Record{.path = "usr/version", .version = "1"});
  host_.record("b", unit::Host::Record{.path = "usr/version", .version = "2"});
  host_.record("a", unit::Host::Record{.path = "usr/package", .package = "p"});
  host_.record("b", unit::Host::Record{.path = "usr/package", .package = "q"});
  host_.record("a", unit::Host::Record{.path = "usr/arch", .arch = "amd64"});
  host_.record("b", unit::Host::Record{.path = "usr/arch", .arch = "i386"});
  EXPECT_THAT(groups(), ElementsAre("a:usr/same b:usr/same"));
}

TEST_F(CandidatesTest, AFileWithADigestIsInNoGroupWithOneThatHasNone) {
  host_.everywhere("usr/x", "same");
  host_.record("a", "usr/x", "same", md5);
  host_.record("b", unit::Host::Record{.path = "usr/x"});
  EXPECT_THAT(groups(), IsEmpty());
}

// An rpm guest and a dpkg guest: only reading can tell, so all of the size and class are looked at together.
TEST_F(CandidatesTest, DigestsOfDifferentKindsAreComparedByReading) {
  host_.everywhere("usr/x", "same");
  host_.record("a", "usr/x", "same", md5);
  host_.record("b", "usr/x", "same", sha256);
  EXPECT_THAT(groups(), ElementsAre("a:usr/x b:usr/x"));
  EXPECT_TRUE(host_.candidates.groups[0].mixed);
}

// A guest that records both kinds of digests for files of its own must not have another guest's file, for
// which no digest says what it should be, compared with its guesses.
TEST_F(CandidatesTest, AFileWithoutADigestIsNotDrawnIntoAMixedGroup) {
  host_.file("a", "usr/guess1", "secret");
  host_.file("a", "usr/guess2", "secret");
  host_.record("a", "usr/guess1", "secret", md5);
  host_.record("a", "usr/guess2", "secret", sha256);
  host_.file("b", "usr/private", "secret");
  host_.record("b", unit::Host::Record{.path = "usr/private", .package = "local"});
  EXPECT_THAT(groups(), ElementsAre("a:usr/guess1 a:usr/guess2"));
}

TEST_F(CandidatesTest, MovesHardLinkedNamesTogetherOrNotAtAll) {
  host_.everywhere("usr/x", "same");
  host_.link("a", "usr/x", "usr/y");
  host_.link("b", "usr/x", "outside");
  host_.rules.scope = Scope::all;
  EXPECT_THAT(groups(), ElementsAre("a:usr/x b:outside"));
  for (const Duplicate& duplicate : host_.candidates.duplicates)
    EXPECT_EQ(duplicate.end - duplicate.begin, 2u);
  // Now one name of b's is none that may be shared.
  for (const char* path : {"usr/x", "usr/y"}) host_.record("a", path, "same", md5);
  host_.record("b", "usr/x", "same", md5);
  EXPECT_THAT(groups(), IsEmpty());
  EXPECT_EQ(host_.refused(Reason::linked_elsewhere), 1u);
}

TEST_F(CandidatesTest, HardLinkedNamesThatAreDifferentFilesToThePackagesAreLeft) {
  host_.everywhere("usr/x", "same");
  host_.link("a", "usr/x", "usr/y");
  for (const char* guest : {"a", "b"}) host_.record(guest, "usr/x", "same", md5);
  host_.record("a", "usr/y", "other", md5);
  EXPECT_THAT(groups(), IsEmpty());
  EXPECT_EQ(host_.refused(Reason::linked_elsewhere), 2u);
}

// A link from one guest's tree into another's, made by the administrator, is one duplicate with names in
// both.
TEST_F(CandidatesTest, ALinkAcrossGuestsIsOneFile) {
  host_.file("a", "x", "same");
  std::filesystem::create_hard_link(host_.path("a", "x"), host_.path("b", "x"));
  EXPECT_THAT(groups(), IsEmpty());
  EXPECT_EQ(host_.refused(Reason::shared_unsealed), 2u);
  EXPECT_EQ(host_.refused(Reason::no_partner), 0u);
}

TEST_F(CandidatesTest, ALinkAcrossGuestsAndToAPlaceOutsideIsSaidToBeShared) {
  host_.file("a", "x", "same");
  std::filesystem::create_hard_link(host_.path("a", "x"), host_.path("b", "x"));
  std::filesystem::create_hard_link(host_.path("a", "x"), host_.dir() + "/outside");
  EXPECT_THAT(groups(), IsEmpty());
  EXPECT_EQ(host_.refused(Reason::shared_unsealed), 2u);
  EXPECT_EQ(host_.refused(Reason::linked_elsewhere), 0u);
}

MasterRecord master_for(const Key128& key) {
  MasterRecord record;
  record.name = "ab/cd";
  record.ino = 1;
  record.answers = {key};
  return record;
}

// Extents are shared, inodes are not: each guest keeps owner, mode and times of its own.
TEST_F(CandidatesTest, WhereBytesAloneAreSharedTheClassDoesNotMatter) {
  host_.rules.bytes_only = true;
  host_.everywhere("x", "1234");
  host_.everywhere("longer", "12345");
  ::chmod(host_.path("b", "x").c_str(), 0600);
  unit::set_mtime(host_.path("b", "longer"), unit::kMtime + 1);
  EXPECT_THAT(groups(), ElementsAre("a:longer b:longer", "a:x b:x"));
}

TEST_F(CandidatesTest, AFileAloneIsACandidateWhenAMasterWaitsForIt) {
  host_.file("a", "usr/x", "same");
  host_.record("a", "usr/x", "same", md5);
  EXPECT_THAT(groups(), IsEmpty());
  const FileRow& row = host_.files.table.rows().front();
  const Key128 key = candidate_key(host_.files.table, row, host_.files.packages.front(), host_.rules);
  host_.masters.add(master_for(key));
  EXPECT_THAT(groups(), ElementsAre("a:usr/x"));
  EXPECT_THAT(host_.candidates.groups[0].masters, ElementsAre(MasterNumber(0)));
  host_.masters.retire(MasterNumber(0));
  EXPECT_THAT(groups(), IsEmpty());
}

// What lets a master that was made for a dpkg guest answer to an rpm guest's file.
TEST_F(CandidatesTest, TheKeyOfADigestIsTheKeyOfAFileThatRecordsIt) {
  for (const auto algorithm : {md5, sha256}) {
    unit::Host host({"a"});
    host.file("a", "usr/x", "same");
    host.record("a", "usr/x", "same", algorithm);
    host.scan();
    const FileRow& row = host.files.table.rows().front();
    EXPECT_EQ(candidate_key(host.files.table, row, host.files.packages.front(), host.rules),
              digest_key(row.size, {row.uid, row.gid, row.mode, row.mtime_ns, 99}, algorithm,
                         unit::digest_of(algorithm, "same"), false));
  }
}

TEST_F(CandidatesTest, GroupsAreInTheOrderOfTheirFirstName) {
  for (int i = 9; i >= 0; --i)
    host_.everywhere("d" + std::to_string(i) + "/f", std::string(static_cast<size_t>(20 - i), 'x'));
  const auto found = groups();
  EXPECT_THAT(found, SizeIs(10));
  EXPECT_TRUE(std::is_sorted(found.begin(), found.end()));
}

}  // namespace
}  // namespace vs::unify
