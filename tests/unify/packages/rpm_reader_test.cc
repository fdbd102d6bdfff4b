#include "unify/packages/rpm_reader.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "tests/support/skip.h"
#include "tests/unify/packages/rpm_databases.h"
#include "unify/packages/package_cache.h"
#include "unify/packages/rpm_database.h"
#include "unify/packages/rpm_stream.h"

namespace vs::unify {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

// A run that is killed cannot take its private copies with it.
TEST(PrivateCopyTest, WhatKilledRunsLeftIsSweptAndNothingElse) {
  const TempDir dir;
  for (const char* name : {"vunify-rpm.killed/db", "vunify-rpm.living", "vunify-other", "target"})
    std::filesystem::create_directories(std::filesystem::path(dir.path()) / name);
  std::filesystem::create_symlink("target", std::filesystem::path(dir.path()) / "vunify-rpm.link");
  const UniqueFd living(
      ::open((dir.path() + "/vunify-rpm.living").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::flock(living.get(), LOCK_SH), 0);
  EXPECT_EQ(sweep_private_copies(dir.path()), 0u) << "just made";
  EXPECT_EQ(sweep_private_copies(dir.path(), 0), 1u);
  for (const char* name : {"vunify-rpm.living", "vunify-other", "target", "vunify-rpm.link"})
    EXPECT_EQ(std::filesystem::symlink_status(dir.path() + "/" + name).type() !=
                  std::filesystem::file_type::not_found,
              true)
        << name;
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/vunify-rpm.killed"));
}

class RpmReaderTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_PROGRAM("rpmbuild", "rpm");
    ASSERT_TRUE(RpmPackages::get().ok());
    guest_.dir("usr/bin");
    guest_.dir("var/log");
    options_.work_dir = work_.path();
  }
  void TearDown() override {
    EXPECT_TRUE(std::filesystem::is_empty(work_.path())) << "a private copy was left behind";
  }
  void install_all() {
    for (const char* name : {"tiny-1.2-3", "sums-1.2-3"}) ASSERT_TRUE(rpm_install(guest_, name));
  }
  // The same packages in another format; false where a tool is missing.
  bool convert(const std::string& to) {
    const std::string sqlite = guest_.path("var/lib/rpm/rpmdb.sqlite");
    const auto headers = rpm_headers(sqlite);
    if (headers.empty()) return false;
    std::filesystem::remove_all(guest_.path("var/lib/rpm"));
    guest_.dir("var/lib/rpm");
    if (to == "Packages") return make_bdb(headers, guest_.path("var/lib/rpm/Packages"));
    guest_.file("var/lib/rpm/Packages.db", make_ndb(headers));
    return true;
  }
  void read() {
    troubles_.clear();
    TroubleLog log(troubles_);
    PackageIndexBuilder builder;
    backends_ = read_rpm(guest_.root(), options_, builder, log);
    index_ = std::move(builder).build(guest_.root(), backends_);
  }
  const PackageFile* find(const std::string& path) const { return look_up(index_, guest_, path); }
  uint8_t flags(const std::string& path) const {
    const PackageFile* file = find(path);
    return file != nullptr ? file->flags : 0xff;
  }
  void expect_all() {
    EXPECT_EQ(flags("usr/bin/tiny"), 0);
    EXPECT_EQ(flags("usr/share/tiny/a b"), 0);
    EXPECT_EQ(flags("etc/tiny.conf"), kConfig);
    EXPECT_EQ(flags("var/log/tiny.log"), kGhost | kMayChange) << "rpm does not verify the digest of a ghost";
    EXPECT_EQ(flags("usr/share/tiny/cache.dat"), kMayChange);
    EXPECT_EQ(find("usr/bin/link"), nullptr) << "a symlink cannot be shared";
    const PackageFile* tiny = find("usr/bin/tiny");
    ASSERT_NE(tiny, nullptr);
    EXPECT_EQ(tiny->algorithm, DigestAlgorithm::sha256);
    std::string sum;
    ASSERT_TRUE(
        run_shell("sha256sum < " + guest_.path("usr/bin/tiny") + " | cut -c1-64 | tr -d '\\n'", &sum));
    EXPECT_EQ(hex(index_.digest(*tiny)), sum);
    const Package& package = index_.packages()[tiny->package];
    EXPECT_EQ(package.name, "tiny");
    EXPECT_EQ(package.version, "5:1.2-3");
    EXPECT_EQ(package.arch, "noarch");
    EXPECT_EQ(package.source, "tiny");
    EXPECT_EQ(package.kind, PackageKind::rpm);
    const PackageFile* sums = find("usr/bin/sums");
    ASSERT_NE(sums, nullptr);
    EXPECT_EQ(sums->algorithm, DigestAlgorithm::md5);
    ASSERT_TRUE(run_shell("md5sum < " + guest_.path("usr/bin/sums") + " | cut -c1-32 | tr -d '\\n'", &sum));
    EXPECT_EQ(hex(index_.digest(*sums)), sum);
    EXPECT_THAT(troubles_, IsEmpty()) << all(troubles_);
  }
  // Changes the database through sqlite and leaves the change in the write-ahead log.
  bool change_in_log(const std::string& sql) {
    std::string output;
    return run_shell("sqlite3 " + guest_.path("var/lib/rpm/rpmdb.sqlite") +
                         " '.dbconfig no_ckpt_on_close on' 'pragma wal_autocheckpoint=0' \"" + sql + "\"",
                     &output);
  }

  GuestTree guest_;
  TempDir work_;
  RpmOptions options_;
  PackageIndex index_;
  std::string backends_;
  std::vector<PackageTrouble> troubles_;
};

TEST_F(RpmReaderTest, ReadsASqliteDatabase) {
  install_all();
  read();
  EXPECT_EQ(backends_, "sqlite");
  expect_all();
}

TEST_F(RpmReaderTest, ReadsAnNdbDatabase) {
  VS_NEEDS_PROGRAM("sqlite3", "sqlite3");
  install_all();
  ASSERT_TRUE(convert("Packages.db"));
  read();
  EXPECT_EQ(backends_, "ndb");
  expect_all();
}

TEST_F(RpmReaderTest, ReadsABerkeleyDatabase) {
  VS_NEEDS_PROGRAM("sqlite3", "sqlite3");
  VS_NEEDS_PROGRAM("db5.3_load", "db5.3-util");
  install_all();
  ASSERT_TRUE(convert("Packages"));
  read();
  EXPECT_EQ(backends_, "bdb_ro");
  expect_all();
}

TEST_F(RpmReaderTest, IsPartOfLoadPackages) {
  install_all();
  const PackageIndex index = load_packages(guest_.root(), std::nullopt, troubles_);
  EXPECT_EQ(index.source(), "rpm (sqlite)");
  EXPECT_NE(look_up(index, guest_, "usr/bin/tiny"), nullptr);
  EXPECT_THAT(troubles_, IsEmpty()) << all(troubles_);
}

TEST_F(RpmReaderTest, ReadsADatabaseInUsrLibSysimage) {
  ASSERT_TRUE(rpm_install(guest_, "tiny-1.2-3", "", "/usr/lib/sysimage/rpm"));
  read();
  EXPECT_EQ(backends_, "sqlite");
  EXPECT_EQ(flags("usr/bin/tiny"), 0);
}

TEST_F(RpmReaderTest, ReadsOnceADatabaseThatIsASymlinkToTheOtherPlace) {
  VS_NEED_RESOLVE_IN_ROOT();
  ASSERT_TRUE(rpm_install(guest_, "tiny-1.2-3", "", "/usr/lib/sysimage/rpm"));
  for (const char* target : {"../../usr/lib/sysimage/rpm", "/usr/lib/sysimage/rpm"}) {
    std::filesystem::remove_all(guest_.path("var/lib/rpm"));
    guest_.symlink(target, "var/lib/rpm");
    read();
    EXPECT_EQ(backends_, "sqlite");
    EXPECT_EQ(index_.packages().size(), 1u);
    EXPECT_THAT(troubles_, IsEmpty()) << all(troubles_);
  }
}

TEST_F(RpmReaderTest, ReadsWhatIsStillInTheWriteAheadLog) {
  VS_NEEDS_PROGRAM("sqlite3", "sqlite3");
  install_all();
  ASSERT_TRUE(change_in_log("delete from Packages where hnum = 1"));
  ASSERT_GT(std::filesystem::file_size(guest_.path("var/lib/rpm/rpmdb.sqlite-wal")), 0u);
  read();
  EXPECT_EQ(index_.packages().size(), 1u);
  EXPECT_EQ(find("usr/bin/tiny"), nullptr);
  EXPECT_THAT(troubles_, IsEmpty()) << all(troubles_);
}

TEST_F(RpmReaderTest, ReadsADatabaseWithoutItsLogFiles) {
  install_all();
  std::filesystem::remove(guest_.path("var/lib/rpm/rpmdb.sqlite-wal"));
  std::filesystem::remove(guest_.path("var/lib/rpm/rpmdb.sqlite-shm"));
  const std::string before = guest_.listing();
  read();
  EXPECT_EQ(guest_.listing(), before);
  expect_all();
}

TEST_F(RpmReaderTest, TakesTheFileOfThePackageThatReplacedIt) {
  ASSERT_TRUE(rpm_install(guest_, "tiny-1.2-3"));
  ASSERT_TRUE(rpm_install(guest_, "other-1.2-3", "--replacefiles"));
  read();
  const PackageFile* shared = find("usr/bin/shared");
  ASSERT_NE(shared, nullptr);
  EXPECT_EQ(index_.packages()[shared->package].name, "other");
  EXPECT_EQ(shared->algorithm, DigestAlgorithm::sha512);
  EXPECT_EQ(shared->flags, 0);
}

TEST_F(RpmReaderTest, MarksFilesThatWereNotInstalled) {
  ASSERT_TRUE(rpm_install(guest_, "tiny-1.2-3", "--excludepath /usr/share"));
  guest_.dir("usr/share/tiny");
  read();
  EXPECT_EQ(flags("usr/bin/tiny"), 0);
  EXPECT_EQ(flags("usr/share/tiny/a b"), kNotNormal);
}

TEST_F(RpmReaderTest, PrefersTheNewerFormatOfTwo) {
  VS_NEEDS_PROGRAM("sqlite3", "sqlite3");
  install_all();
  guest_.file("var/lib/rpm/Packages.db", make_ndb({}));
  guest_.file("var/lib/rpm/Packages", "leftover");
  read();
  EXPECT_EQ(backends_, "sqlite");
  expect_all();
}

TEST_F(RpmReaderTest, ChangesNothingInTheGuest) {
  VS_NEEDS_PROGRAM("sqlite3", "sqlite3");
  install_all();
  ASSERT_TRUE(change_in_log("delete from Packages where hnum = 1"));
  const auto headers = rpm_headers(guest_.path("var/lib/rpm/rpmdb.sqlite"));
  guest_.file("usr/lib/sysimage/rpm/Packages.db", make_ndb(headers));
  const std::string before = guest_.listing();
  for (int i = 0; i < 3; ++i) read();
  EXPECT_EQ(backends_, "ndb, sqlite");
  EXPECT_EQ(guest_.listing(), before);
}

TEST_F(RpmReaderTest, RefusesADatabaseThatIsASymlink) {
  for (const char* target : {"/etc/shadow", "/var/lib/rpm/rpmdb.sqlite", "../../../../../../../etc/passwd"}) {
    for (const char* name : {"rpmdb.sqlite", "Packages.db", "Packages"}) {
      std::filesystem::remove_all(guest_.path("var/lib/rpm"));
      guest_.symlink(target, std::string("var/lib/rpm/") + name);
      read();
      EXPECT_EQ(backends_, "");
      EXPECT_EQ(all(troubles_),
                fmt::format("var/lib/rpm/{}: expected a regular file, found a symbolic link\n", name));
    }
  }
}

TEST_F(RpmReaderTest, DoesNotFollowADirectorySymlinkOutOfTheGuest) {
  TempDir outside;
  GuestTree host;
  ASSERT_TRUE(rpm_install(host, "tiny-1.2-3"));
  guest_.symlink(host.path("var/lib/rpm"), "var/lib/rpm");
  guest_.symlink("../../../../../.." + host.path("var/lib/rpm"), "usr/lib/sysimage/rpm");
  const std::string before = host.listing();
  read();
  EXPECT_EQ(backends_, "");
  EXPECT_EQ(host.listing(), before);
}

TEST_F(RpmReaderTest, DoesNotBlockOnAFifo) {
  for (const char* name : {"rpmdb.sqlite", "Packages.db", "Packages"}) {
    std::filesystem::remove_all(guest_.path("var/lib/rpm"));
    guest_.fifo(std::string("var/lib/rpm/") + name);
    read();
    EXPECT_EQ(backends_, "");
    EXPECT_THAT(all(troubles_), HasSubstr("expected a regular file, found a fifo"));
  }
}

TEST_F(RpmReaderTest, IgnoresALogThatIsNoFile) {
  install_all();
  std::filesystem::remove(guest_.path("var/lib/rpm/rpmdb.sqlite-wal"));
  guest_.symlink("/etc/shadow", "var/lib/rpm/rpmdb.sqlite-wal");
  read();
  EXPECT_EQ(flags("usr/bin/tiny"), 0);
  EXPECT_THAT(all(troubles_), HasSubstr("rpmdb.sqlite-wal: expected a regular file, found a symbolic link"));
}

TEST_F(RpmReaderTest, RefusesAHugeDatabase) {
  guest_.file("var/lib/rpm/Packages", "x");
  ASSERT_EQ(::truncate(guest_.path("var/lib/rpm/Packages").c_str(), 1ll << 40), 0);
  read();
  EXPECT_EQ(backends_, "");
  EXPECT_THAT(all(troubles_), HasSubstr("expected at most 1073741824 bytes"));
}

TEST_F(RpmReaderTest, SaysWhyADatabaseCannotBeRead) {
  for (const char* name : {"rpmdb.sqlite", "Packages.db", "Packages"}) {
    for (const std::string& content : {std::string(), std::string("garbage"), std::string(100000, '\xff')}) {
      std::filesystem::remove_all(guest_.path("var/lib/rpm"));
      guest_.file(std::string("var/lib/rpm/") + name, content);
      read();
      EXPECT_TRUE(index_.empty());
      // An empty file is an empty database to sqlite.
      if (content.empty() && std::string(name) == "rpmdb.sqlite") continue;
      EXPECT_EQ(backends_, "") << name << " " << content.size();
      EXPECT_THAT(all(troubles_), HasSubstr(fmt::format("var/lib/rpm/{}: cannot be read", name)));
    }
  }
}

TEST_F(RpmReaderTest, ReadsADatabaseThatChangedOnceWhileItWasCopied) {
  VS_NEEDS_PROGRAM("sqlite3", "sqlite3");
  install_all();
  int tries = 0;
  options_.before_copy = [&] {
    if (++tries > 1) return;
    EXPECT_TRUE(change_in_log("delete from Packages where hnum = 1"));
  };
  read();
  EXPECT_EQ(tries, 2);
  EXPECT_EQ(backends_, "sqlite");
  EXPECT_EQ(index_.packages().size(), 1u);
  EXPECT_THAT(troubles_, IsEmpty()) << all(troubles_);
}

TEST_F(RpmReaderTest, GivesUpOnADatabaseThatKeepsChanging) {
  install_all();
  options_.before_copy = [&] {
    std::ofstream(guest_.path("var/lib/rpm/rpmdb.sqlite"), std::ios::app) << "x";
  };
  read();
  EXPECT_EQ(backends_, "");
  EXPECT_TRUE(index_.packages().empty());
  EXPECT_THAT(all(troubles_), HasSubstr("rpmdb.sqlite: changes while it is read"));
}

TEST_F(RpmReaderTest, SurvivesADatabaseThatShrinksAndGrowsMeanwhile) {
  install_all();
  const std::string path = guest_.path("var/lib/rpm/rpmdb.sqlite"), good = contents(path);
  std::atomic<bool> stop = false;
  std::jthread writer([&] {
    for (off_t i = 1; !stop; ++i) static_cast<void>(::truncate(path.c_str(), i * 4099 % (1 << 20)));
  });
  for (int i = 0; i < 20; ++i) read();
  stop = true;
  writer.join();
  guest_.file("var/lib/rpm/rpmdb.sqlite", good);
  read();
  expect_all();
}

TEST_F(RpmReaderTest, StopsAChildThatTakesTooLong) {
  install_all();
  options_.limits.seconds = 0;
  read();
  EXPECT_EQ(backends_, "");
  EXPECT_THAT(all(troubles_), HasSubstr("cannot be read: the child that reads it was stopped after 0 s"));
}

TEST_F(RpmReaderTest, ReadsManyAtOnceInAProcessFullOfThreads) {
#if defined(__SANITIZE_ADDRESS__)
  VS_SKIP(kSanitizer) << "the sanitizer's allocator (gcc 12) keeps its locks over a fork; glibc's does not";
#endif
  // The children are forked while other threads hold whatever locks malloc and stdio have.
  install_all();
  std::atomic<bool> stop = false;
  std::vector<std::jthread> busy;
  for (int i = 0; i < 2; ++i)
    busy.emplace_back([&] {
      while (!stop) {
        std::vector<std::string> many(100, std::string(1000, 'x'));
        std::fprintf(stdout, "%s", many[0].substr(0, 0).c_str());
      }
    });
  std::atomic<int> good = 0;
  std::vector<std::jthread> readers;
  for (int i = 0; i < 4; ++i)
    readers.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        std::vector<PackageTrouble> troubles;
        TroubleLog log(troubles);
        PackageIndexBuilder builder;
        if (read_rpm(guest_.root(), options_, builder, log) == "sqlite") ++good;
      }
    });
  readers.clear();
  stop = true;
  EXPECT_EQ(good, 40);
}

// --- The cache.

class RpmCacheTest : public RpmReaderTest {
 protected:
  void SetUp() override {
    RpmReaderTest::SetUp();
    options_.cache_dir = cache_.path();
  }
  std::string file() const { return cache_file(cache_.path(), guest_.root(), 1); }

  TempDir cache_;
};

TEST_F(RpmCacheTest, GivesTheSameAnswerWithoutReadingAgain) {
  install_all();
  read();
  expect_all();
  options_.limits.seconds = 0;  // a child would be stopped
  read();
  expect_all();
  EXPECT_EQ(backends_, "sqlite");
}

TEST_F(RpmCacheTest, ReadsAgainWhenTheDatabaseChanged) {
  VS_NEEDS_PROGRAM("sqlite3", "sqlite3");
  install_all();
  read();
  ASSERT_TRUE(change_in_log("delete from Packages where hnum = 1"));
  read();
  EXPECT_EQ(index_.packages().size(), 1u);
}

TEST_F(RpmCacheTest, IgnoresATornOrDamagedEntry) {
  install_all();
  read();
  const std::string good = contents(file());
  ASSERT_GT(good.size(), 100u);
  std::vector<std::string> bad = {"", good.substr(0, 20), good.substr(0, good.size() - 1), good + "x",
                                  std::string(good.size(), '\0')};
  for (size_t at : {size_t{3}, size_t{9}, size_t{25}, size_t{33}, size_t{60}, good.size() - 1}) {
    bad.push_back(good);
    bad.back()[at] = static_cast<char>(bad.back()[at] ^ 0x10);
  }
  for (const std::string& content : bad) {
    std::ofstream(file(), std::ios::binary) << content;
    read();
    expect_all();
    EXPECT_EQ(contents(file()), good) << "written anew";
  }
}

TEST_F(RpmCacheTest, KeepsNothingOfADatabaseThatCannotBeRead) {
  guest_.file("var/lib/rpm/rpmdb.sqlite", "garbage");
  read();
  EXPECT_TRUE(std::filesystem::is_empty(cache_.path()));
}

TEST_F(RpmCacheTest, KeepsOneFileAGuest) {
  VS_NEEDS_PROGRAM("sqlite3", "sqlite3");
  install_all();
  for (int i = 0; i < 3; ++i) {
    read();
    ASSERT_TRUE(change_in_log(fmt::format("insert into Packages values ({}, x'00')", 100 + i)));
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(cache_.path()), {}), 1);
}

TEST_F(RpmCacheTest, KeepsGuestsApart) {
  install_all();
  read();
  GuestTree other;
  ASSERT_NE(cache_file("x", guest_.root(), 0), cache_file("x", other.root(), 0));
  ASSERT_NE(cache_file("x", guest_.root(), 0), cache_file("x", guest_.root(), 1));
}

TEST_F(RpmCacheTest, DoesWithoutACacheDirectory) {
  install_all();
  options_.cache_dir = "/nonexistent/cache";
  read();
  EXPECT_EQ(backends_, "sqlite");
  EXPECT_EQ(flags("usr/bin/tiny"), 0);
  EXPECT_THAT(all(troubles_), HasSubstr("/nonexistent/cache"));
}

}  // namespace
}  // namespace vs::unify
