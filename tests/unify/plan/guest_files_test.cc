// Passes 3 to 5 in one walk: what is kept, and for each 'no' the reason.
#include "unify/plan/guest_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unify/fixture.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class GuestFilesTest : public testing::Test {
 protected:
  GuestFilesTest() { host_.rules.scope = Scope::packages; }
  // The real walk, over what the fixture's builder made of the records.
  std::vector<std::string> scan() {
    host_.scan();
    host_.files = scan_guests(host_.guests, host_.rules, host_.masters, std::move(host_.files.packages),
                              host_.context.run);
    std::vector<std::string> paths;
    for (const auto& row : host_.files.table.rows())
      paths.push_back(host_.guests[host_.files.table.guest(row)].name + ":" + host_.files.table.path(row));
    return paths;
  }
  void file(const std::string& path, unsigned mode = 0644) { host_.file("a", path, "content", mode); }
  void record(const std::string& path, uint8_t flags = 0) {
    host_.record("a", unit::Host::Record{.path = path, .flags = flags});
  }
  void shipped(const std::string& path, unsigned mode = 0644, uint8_t flags = 0) {
    file(path, mode);
    record(path, flags);
  }
  unit::Host host_{{"a", "b"}};
};

TEST_F(GuestFilesTest, KeepsWhatAPackageShippedAndLeavesTheRestWithAReason) {
  shipped("usr/good");
  shipped("usr/conf", 0644, kConfig);
  shipped("usr/suid", 04755);
  shipped("usr/x.lock");
  shipped("etc/good");
  file("usr/unowned");
  record("usr/gone");
  host_.file("a", "usr/empty", "");
  record("usr/empty");
  for (const auto& path : default_excludes()) host_.rules.excludes.add(path);
  EXPECT_THAT(scan(), ElementsAre("a:usr/good"));
  for (const Reason reason :
       {Reason::config, Reason::set_id, Reason::lock_like, Reason::unowned, Reason::empty})
    EXPECT_EQ(host_.refused(reason), 1u) << reason_name(reason);
  const GuestCounts& counts = host_.files.counts.front();
  EXPECT_EQ(counts.considered, 1u);
  EXPECT_EQ(counts.regular_files, 6u) << "what lies in an excluded directory is not looked at";
  EXPECT_EQ(counts.owned, 5u);
}

TEST_F(GuestFilesTest, TheRowLeadsToTheRecord) {
  shipped("usr/a");
  shipped("usr/b");
  scan();
  for (const auto& row : host_.files.table.rows()) {
    const PackageIndex& packages = host_.files.packages.front();
    EXPECT_EQ(packages.name(packages.files()[row.tag]), host_.files.table.name(row));
  }
}

TEST_F(GuestFilesTest, InScopeAllNoPackageIsNeeded) {
  file("usr/x");
  host_.rules.scope = Scope::all;
  EXPECT_THAT(scan(), ElementsAre("a:usr/x"));
  EXPECT_EQ(host_.files.table.rows().front().tag, kNoPackage);
}

// A record stays a reason also where packages do not matter.
TEST_F(GuestFilesTest, InScopeAllConfigurationIsLeftAllTheSame) {
  shipped("usr/conf", 0644, kConfig);
  host_.rules.scope = Scope::all;
  EXPECT_THAT(scan(), IsEmpty());
}

TEST_F(GuestFilesTest, ExcludesFilesByNameAndByGlob) {
  for (const char* path : {"usr/a", "usr/b.log", "usr/c", "opt/x/c"}) shipped(path);
  host_.rules.excludes.add("usr/a");
  host_.rules.excludes.add("usr/*.log");
  host_.rules.excludes.add("opt/*");
  EXPECT_THAT(scan(), ElementsAre("a:usr/c"));
  EXPECT_EQ(host_.refused(Reason::excluded), 2u);
}

// One inode number looked up in a table: no stat, no open.
TEST_F(GuestFilesTest, AnEntryOfAMasterIsUnifiedAndNotLookedAt) {
  shipped("usr/x");
  MasterRecord master;
  master.ino = host_.ino("a", "usr/x");
  host_.masters.add(master);
  EXPECT_THAT(scan(), IsEmpty());
  EXPECT_EQ(host_.files.counts.front().unified, 1u);
  ASSERT_EQ(host_.files.sightings.size(), 1u);
  EXPECT_EQ(host_.files.sightings[0].guest, GuestNumber(0));
  EXPECT_EQ(host_.files.total().skipped, ReasonCounts{});
}

// A directory is known by its inode, not by its name: /bin is usr/bin where it is a symlink, and another
// place where it is not.
TEST_F(GuestFilesTest, RecordsAreFoundUnderTheNameTheDirectoryReallyHas) {
  file("usr/bin/ls");
  unit::make_symlink("usr/bin", host_.path("a", "bin"));
  record("bin/ls");
  EXPECT_THAT(scan(), ElementsAre("a:usr/bin/ls"));
}

}  // namespace
}  // namespace vs::unify
