#include "unify/plan/eligibility.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/stat.h>
#include <sys/stat.h>

#include <set>

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

PackageFile with_flags(int flags) {
  PackageFile file;
  file.flags = static_cast<uint8_t>(flags);
  return file;
}

FileStat plain(uint32_t mode = 0100644) {
  FileStat stat;
  stat.size = 100;
  stat.mode = mode;
  return stat;
}

TEST(EligibilityTest, APlainFileOfAPackageMayBeShared) {
  EXPECT_EQ(refuse_record(with_flags(0)), std::nullopt);
  EXPECT_EQ(refuse_stat({}, plain()), std::nullopt);
  EXPECT_EQ(refuse_stat({}, plain(0100755)), std::nullopt);
  EXPECT_EQ(refuse_stat({}, plain(0100400)), std::nullopt);
}

TEST(EligibilityTest, WhatThePackageDoesNotVouchForIsNeverShared) {
  const std::pair<int, Reason> cases[] = {
      {kConfig, Reason::config},           {kGhost, Reason::ghost},
      {kDiverted, Reason::diverted},       {kOverridden, Reason::overridden},
      {kNotNormal, Reason::not_installed}, {kMayChange, Reason::may_change},
      {kAmbiguous, Reason::ambiguous},     {kNoDigest, Reason::no_digest}};
  for (const auto& [flag, reason] : cases) EXPECT_EQ(refuse_record(with_flags(flag)), reason);
  for (int flags = 1; flags < 256; ++flags) EXPECT_TRUE(refuse_record(with_flags(flags))) << flags;
}

// Package managers chmod the old inode of these when they replace it: on a shared one that must never be
// needed.
TEST(EligibilityTest, SetIdAndStickyFilesAreNeverShared) {
  for (const uint32_t bit : {04000u, 02000u, 01000u})
    EXPECT_EQ(refuse_stat({}, plain(0100755 | bit)), Reason::set_id);
}

TEST(EligibilityTest, EmptyAndSmallFilesAreNotWorthIt) {
  FileStat stat = plain();
  stat.size = 0;
  EXPECT_EQ(refuse_stat({}, stat), Reason::empty);
  Rules rules;
  rules.min_size = 0;
  EXPECT_EQ(refuse_stat(rules, stat), Reason::empty);
  rules.min_size = 101;
  EXPECT_EQ(refuse_stat(rules, plain()), Reason::small);
  rules.min_size = 100;
  EXPECT_EQ(refuse_stat(rules, plain()), std::nullopt);
}

TEST(EligibilityTest, HolesAreNotRead) {
  FileStat stat = plain();
  stat.size = 15ULL << 40;
  stat.blocks = 8;
  EXPECT_EQ(refuse_stat({}, stat), Reason::sparse);
  stat.blocks = stat.size / 512 / 4;
  EXPECT_EQ(refuse_stat({}, stat), std::nullopt);
  stat.size = (1 << 20) - 1;
  stat.blocks = 0;
  EXPECT_EQ(refuse_stat({}, stat), std::nullopt) << "not worth a look";
}

TEST(EligibilityTest, FilesThatSomebodySealedOrEncryptedAreLeft) {
  for (const uint64_t attribute :
       {STATX_ATTR_IMMUTABLE, STATX_ATTR_APPEND, STATX_ATTR_ENCRYPTED, STATX_ATTR_VERITY}) {
    FileStat stat = plain();
    stat.attributes = attribute;
    EXPECT_EQ(refuse_stat({}, stat), Reason::attributes);
  }
}

// flock on a shared inode reaches every guest that has a name of it.
TEST(EligibilityTest, NamesThatLookLikeLocksAreKnown) {
  for (const char* name : {"lock", "LOCK", ".lock", "a.lock", "a.lck", "x.lk", "daemon.pid", ".#draft"})
    EXPECT_TRUE(lock_like(name)) << name;
  for (const char* name : {"lockfile.so", "locker", "unlock", "pid", "block", "a.lock.txt", "libpid.so"})
    EXPECT_FALSE(lock_like(name)) << name;
}

TEST(ReasonTest, EachHasANameAndAnExplanationOfItsOwn) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kReasons; ++i) {
    const auto reason = static_cast<Reason>(i);
    EXPECT_THAT(std::string(reason_name(reason)), testing::MatchesRegex("[a-z_]+"));
    EXPECT_FALSE(reason_explanation(reason).empty());
    names.insert(reason_name(reason));
  }
  EXPECT_EQ(names.size(), kReasons);
}

// A rule is as it should be (exit code 0); trouble is tried again and makes exit code 3.
TEST(ReasonTest, TroubleIsToldFromRules) {
  for (const Reason reason :
       {Reason::busy, Reason::changed_meanwhile, Reason::unreadable, Reason::no_space, Reason::too_many_links,
        Reason::other_project, Reason::io_error, Reason::lease_refused, Reason::read_budget,
        Reason::out_of_time, Reason::unknown_packages})
    EXPECT_TRUE(is_trouble(reason)) << reason_name(reason);
  for (const Reason reason :
       {Reason::excluded, Reason::unowned, Reason::config, Reason::set_id, Reason::no_partner,
        Reason::not_pristine, Reason::linked_elsewhere, Reason::unshareable_extents})
    EXPECT_FALSE(is_trouble(reason)) << reason_name(reason);
}

// The names are in documents and --json.
TEST(ReasonTest, NamesStayWithTheirReasons) {
  EXPECT_EQ(reason_name(Reason::excluded), "excluded");
  EXPECT_EQ(reason_name(Reason::lock_like), "lock_like");
  EXPECT_EQ(reason_name(Reason::unshareable_extents), "unshareable_extents");
  EXPECT_EQ(reason_name(Reason::busy), "busy");
  EXPECT_EQ(reason_name(Reason::out_of_time), "out_of_time");
}

ExcludeList excludes(std::initializer_list<const char*> patterns) {
  ExcludeList list;
  for (const char* pattern : patterns) list.add(pattern);
  return list;
}

TEST(ExcludeListTest, TakesTheSpellingsOfADirectoryAlike) {
  for (const char* pattern : {"etc", "/etc", "etc/", "/etc/", "etc/**", "//etc//", "./etc", "/./etc/."}) {
    const ExcludeList list = excludes({pattern});
    EXPECT_TRUE(list.matches("etc")) << pattern;
    EXPECT_FALSE(list.matches("etcetera")) << pattern;
    EXPECT_FALSE(list.matches("usr/etc")) << pattern;
    EXPECT_FALSE(list.has_wildcards()) << pattern;
  }
}

// Whether lib is a link to usr/lib is each guest's own affair.
TEST(ExcludeListTest, KnowsMergedUsr) {
  const ExcludeList list =
      excludes({"lib/firmware", "/usr/sbin/x", "lib64/*.so", "usr/libexec/y", "usr/share/z"});
  for (const char* path : {"lib/firmware", "usr/lib/firmware", "usr/sbin/x", "sbin/x", "lib64/a.so",
                           "usr/lib64/a.so", "usr/libexec/y", "usr/share/z"})
    EXPECT_TRUE(list.matches(path)) << path;
  for (const char* path : {"libexec/y", "share/z", "usr/share/lib/firmware"})
    EXPECT_FALSE(list.matches(path)) << path;
}

TEST(ExcludeListTest, GlobsMatchWithinOneDirectory) {
  const ExcludeList list = excludes({"usr/share/*/x.[ab]", "opt/?"});
  EXPECT_TRUE(list.has_wildcards());
  EXPECT_TRUE(list.matches("usr/share/doc/x.a"));
  EXPECT_FALSE(list.matches("usr/share/doc/deep/x.a"));
  EXPECT_TRUE(list.matches("opt/q"));
  EXPECT_FALSE(list.matches("opt/qq"));
}

TEST(ExcludeListTest, TellsWhichNamesInADirectoryAreExcluded) {
  const ExcludeList list = excludes({"usr/lib/x", "usr/lib/y", "usr/lib/z/deep", "top"});
  EXPECT_THAT(list.literal_names_in("usr/lib"), UnorderedElementsAre("x", "y"));
  EXPECT_THAT(list.literal_names_in(""), ElementsAre("top"));
  EXPECT_THAT(list.literal_names_in("usr"), IsEmpty());
}

TEST(ExcludeListTest, RefusesAPatternThatNamesNothing) {
  for (const char* pattern : {"", "/", "//"}) {
    try {
      excludes({pattern});
      ADD_FAILURE() << "'" << pattern << "'";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::usage);
      EXPECT_THAT(error.what(), HasSubstr("--exclude '" + std::string(pattern) + "'"));
    }
  }
}

TEST(ExcludeListTest, TheDefaultsKeepOutLocalStateAndLeaveWhatPackagesShip) {
  ExcludeList list;
  for (const auto& pattern : default_excludes()) list.add(pattern);
  for (const char* path :
       {"etc", "home", "root", "var", "tmp", "proc", "sys", "dev", "run", "srv", "mnt", "media"})
    EXPECT_TRUE(list.matches(path)) << path;
  for (const char* path : {"usr", "bin", "lib", "opt", "boot", "sbin"})
    EXPECT_FALSE(list.matches(path)) << path;
}

}  // namespace
}  // namespace vs::unify
