// Databases that are not what they claim. Whatever they do, they do it to a child that can only talk, and
// what it says is either right in form or a trouble; nothing in the guest changes, no private copy is left.
//
// VS_HOSTILE_ROUNDS sets how many damaged databases of each format are tried (default 40).
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <cstdlib>
#include <random>

#include "tests/support/skip.h"
#include "tests/unify/packages/rpm_databases.h"
#include "unify/packages/rpm_reader.h"

namespace vs::unify {
namespace {

using testing::HasSubstr;

int rounds() {
  const char* set = std::getenv("VS_HOSTILE_ROUNDS");
  return set != nullptr ? std::atoi(set) : 40;
}

// Good databases of three packages in each format, made once.
struct Samples {
  std::string sqlite, ndb, bdb;
  static const Samples& get() {
    static const Samples made;
    return made;
  }

 private:
  Samples() {
    GuestTree guest;
    if (!RpmPackages::get().ok()) return;
    for (const char* name : {"tiny-1.2-3", "sums-1.2-3"}) rpm_install(guest, name);
    rpm_install(guest, "other-1.2-3", "--replacefiles");
    sqlite = contents(guest.path("var/lib/rpm/rpmdb.sqlite"));
    const auto headers = rpm_headers(guest.path("var/lib/rpm/rpmdb.sqlite"));
    if (!headers.empty()) ndb = make_ndb(headers);
    if (!headers.empty() && make_bdb(headers, guest.path("Packages"))) bdb = contents(guest.path("Packages"));
  }
};

class HostileDatabaseTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_PROGRAM("rpmbuild", "rpm");
    VS_NEEDS_PROGRAM("sqlite3", "sqlite3");
    for (const char* dir : {"usr/bin", "etc", "usr/share/tiny", "var/log", "var/lib/rpm"}) guest_.dir(dir);
    options_.work_dir = work_.path();
    options_.limits.seconds = 20;
  }
  void TearDown() override { EXPECT_TRUE(std::filesystem::is_empty(work_.path())); }

  std::string read() {
    troubles_.clear();
    TroubleLog log(troubles_);
    PackageIndexBuilder builder;
    const std::string backends = read_rpm(guest_.root(), options_, builder, log);
    index_ = std::move(builder).build(guest_.root(), backends);
    return backends;
  }
  // Reads `content` and checks what must hold for any.
  void try_one(const std::string& name, const std::string& content, const std::string& what) {
    SCOPED_TRACE(what);
    guest_.file("var/lib/rpm/" + name, content);
    const std::string before = guest_.listing();
    read();
    EXPECT_EQ(guest_.listing(), before);
    EXPECT_LE(troubles_.size(), TroubleLog::kMaxPerFile + 1);
    for (const PackageTrouble& trouble : troubles_) {
      EXPECT_EQ(trouble.file, "var/lib/rpm/" + name);
      EXPECT_EQ(trouble.detail.find_first_of("\n\x1b"), std::string::npos);
    }
    if (all(troubles_).find("killed by signal") != std::string::npos) ++deaths_;
  }
  void damage(const std::string& name, const std::string& good) {
    VS_NEEDS_PROGRAM("db5.3_load", "db5.3-util");
    ASSERT_NE(good, "") << name;
    std::mt19937 random(1);  // the same damage each time
    for (int round = 0; round < rounds(); ++round) {
      std::string bad = good;
      const auto any = [&](size_t below) {
        return std::uniform_int_distribution<size_t>(0, below - 1)(random);
      };
      for (size_t flips = size_t{1} << any(8); flips > 0; --flips)
        bad[any(bad.size())] ^= static_cast<char>(1 << any(8));
      if (round % 8 == 1) bad.resize(any(bad.size()));
      if (round % 8 == 2) std::fill_n(bad.begin() + static_cast<ptrdiff_t>(any(bad.size() - 16)), 16, '\xff');
      if (round % 8 == 3)
        bad.replace(any(bad.size() / 2), bad.size() / 4, good, any(good.size() / 2), good.size() / 4);
      if (round % 8 == 4)
        for (size_t i = 0, at = any(bad.size() - 4096); i < 4096; ++i)
          bad[at + i] = static_cast<char>(random());
      try_one(name, bad, fmt::format("{} round {}", name, round));
    }
    RecordProperty("children killed", deaths_);
  }

  GuestTree guest_;
  TempDir work_;
  RpmOptions options_;
  PackageIndex index_;
  std::vector<PackageTrouble> troubles_;
  int deaths_ = 0;
};

TEST_F(HostileDatabaseTest, SurvivesDamagedSqlite) {
  damage("rpmdb.sqlite", Samples::get().sqlite);
}
TEST_F(HostileDatabaseTest, SurvivesDamagedNdb) {
  damage("Packages.db", Samples::get().ndb);
}
TEST_F(HostileDatabaseTest, SurvivesDamagedBerkeley) {
  damage("Packages", Samples::get().bdb);
}

TEST_F(HostileDatabaseTest, SurvivesADamagedHeaderWithARightChecksum) {
  // ndb's checksum would catch what the rounds above flip, so here the header itself is hostile.
  GuestTree other;
  rpm_install(other, "tiny-1.2-3");
  const auto headers = rpm_headers(other.path("var/lib/rpm/rpmdb.sqlite"));
  ASSERT_FALSE(headers.empty());
  std::mt19937 random(2);
  for (int round = 0; round < rounds(); ++round) {
    std::string header = headers.begin()->second;
    const auto any = [&](size_t below) {
      return std::uniform_int_distribution<size_t>(0, below - 1)(random);
    };
    for (size_t flips = size_t{1} << any(6); flips > 0; --flips)
      header[any(header.size())] ^= static_cast<char>(1 << any(8));
    if (round % 4 == 1)  // a huge count or offset in one of its entries
      for (size_t i = 0, at = 8 + 16 * any(30) + 4 * any(4); i < 4; ++i)
        header[at + i] = static_cast<char>(round % 8 == 1 ? 0x7f : 0xff);
    try_one("Packages.db", make_ndb({{1, header}, {2, headers.begin()->second}}),
            fmt::format("header round {}", round));
    const bool ended = deaths_ == 0 && all(troubles_).find("stopped after") == std::string::npos;
    EXPECT_TRUE(!ended || look_up(index_, guest_, "usr/bin/tiny") != nullptr) << "the good header remains\n"
                                                                              << all(troubles_);
    deaths_ = 0;
  }
}

TEST_F(HostileDatabaseTest, SurvivesHugeCounts) {
  const std::string& bdb = Samples::get().bdb;
  VS_NEEDS_PROGRAM("db5.3_load", "db5.3-util");
  ASSERT_NE(bdb, "");
  // Words of the meta page: page size, last page, buckets, masks, spares.
  for (size_t word = 2; word < 56; ++word) {
    for (const uint32_t value : {0u, 1u, 0x7fffffffu, 0xffffffffu, 0x10000000u}) {
      std::string bad = bdb;
      bad.replace(word * 4, 4, little_endian(value));
      if (word % 3 == 0) try_one("Packages", bad, fmt::format("word {} is {:x}", word, value));
    }
  }
}

TEST_F(HostileDatabaseTest, SurvivesASqliteSchemaWithTriggersAndViews) {
  GuestTree other;
  rpm_install(other, "tiny-1.2-3");
  const std::string file = other.path("var/lib/rpm/rpmdb.sqlite");
  std::string ignored;
  ASSERT_TRUE(run_shell("sqlite3 " + file +
                            " \"alter table Packages rename to P; "
                            "create view Packages as with recursive c(n) as (select 1 union all select n + 1 "
                            "from c) select n as hnum, zeroblob(1000000000) as blob from c;\"",
                        &ignored))
      << ignored;
  options_.limits.seconds = 3;
  try_one("rpmdb.sqlite", contents(file), "endless view");
  EXPECT_EQ(index_.file_count(), 0u);
  EXPECT_FALSE(troubles_.empty());
}

TEST_F(HostileDatabaseTest, IsNotMadeToReadTheHostByAttachOrFileFunctions) {
  GuestTree other;
  rpm_install(other, "tiny-1.2-3");
  const std::string file = other.path("var/lib/rpm/rpmdb.sqlite");
  std::string ignored;
  ASSERT_TRUE(run_shell("sqlite3 " + file +
                            " \"alter table Packages rename to P; "
                            "create view Packages as select 1 as hnum, "
                            "load_extension('/lib/x86_64-linux-gnu/libc.so.6') as blob;\"",
                        &ignored))
      << ignored;
  try_one("rpmdb.sqlite", contents(file), "extension");
  EXPECT_EQ(index_.file_count(), 0u);
}

TEST_F(HostileDatabaseTest, DoesNotGrowWithWhatADatabaseAsksFor) {
  rusage start{}, end{};
  ::getrusage(RUSAGE_SELF, &start);
  std::string file = make_ndb({{1, std::string(30 << 20, '\0')}});
  try_one("Packages.db", file, "large header");
  ::getrusage(RUSAGE_SELF, &end);
  EXPECT_LT(end.ru_maxrss - start.ru_maxrss, 400 * 1024) << "KiB in the parent";
}

}  // namespace
}  // namespace vs::unify
