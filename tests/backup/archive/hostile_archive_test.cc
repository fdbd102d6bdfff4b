// Archives and catalogs made by an attacker: nothing is written outside of the target, nothing grows without
// bound.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "backup/archive/archive_writer.h"
#include "backup/archive/pax_writer.h"
#include "backup/restore/restore.h"
#include "tests/support/temp_dir.h"

namespace vs::backup {
namespace {

namespace fs = std::filesystem;

Entry plain(const std::string& name, char type) {
  Entry entry;
  entry.name = name;
  entry.type = type;
  entry.mode = type == 'd' ? 0755 : 0644;
  return entry;
}

std::string dir_of(const std::vector<Entry>& entries) {
  std::string bytes;
  append_entry(bytes, plain("", 'd'));
  for (const auto& entry : entries) append_entry(bytes, entry);
  return bytes;
}

class HostileTest : public testing::Test {
 protected:
  HostileTest() : outside_(dir_ / "outside") {
    test::write_file(outside_ + "/canary", "untouched");
    catalog_.header.kind = "single";
    catalog_.header.stamp = catalog_.header.chain = "20261124T030000Z";
  }

  Entry file(const std::string& name, const std::string& content) {
    TarEntry tar;
    tar.path = "evil/" + name;
    tar.mode = 0644;
    tar.size = content.size();
    Entry entry = plain(name, 'f');
    entry.offset = tar_.size();
    entry.size = content.size();
    entry.content = sha256(content);
    append_header(tar_, tar);
    tar_ += content;
    append_padding(tar_, content.size());
    return entry;
  }

  // Writes the archive and restores it; the problem that ended it, "" if none.
  std::string restore_it() {
    const int dir = ::open(dir_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fs::remove(dir_ / "evil.tar.zst");
    {
      ArchiveWriter writer(dir, dir_.path(), "evil.tar.zst", "run", false);
      if (!tar_.empty()) writer.add(compressed(tar_, 1), tar_.size());
      ok_or_throw(writer.finish(catalog_));
    }
    ::close(dir);
    Log log(Verbosity::quiet);
    Progress progress(log, ProgressMode::never);
    PhaseTimer timer;
    Cancel cancel;
    RunContext context{log, progress, timer, cancel, 1};
    RestoreOptions options;
    options.target = dir_ / "target";
    try {
      StoredBackups backups(dir_ / "evil.tar.zst");
      restore(backups, {{"evil", {}, ""}}, options, context);
    } catch (const Error& error) {
      return error.what();
    }
    failed_ = log.failed_objects();
    return "";
  }

  void expect_untouched() {
    EXPECT_EQ(test::read_file(outside_ + "/canary"), "untouched");
    EXPECT_EQ(std::distance(fs::directory_iterator(outside_), fs::directory_iterator()), 1);
    for (const auto& entry : fs::directory_iterator(dir_.path()))
      EXPECT_THAT(entry.path().filename().string(), testing::AnyOf("outside", "target", "evil.tar.zst"));
    if (!fs::exists(dir_ / "target")) return;
    for (const auto& entry : fs::directory_iterator(dir_ / "target"))
      EXPECT_EQ(entry.path().filename(), "evil");
  }

  test::TempDir dir_;
  std::string outside_;
  Catalog catalog_;
  std::string tar_;
  uint64_t failed_ = 0;
};

TEST_F(HostileTest, NamesThatLeadOutAreNoNames) {
  for (const auto& name :
       std::vector<std::string>{"..", ".", "a/b", "../x", "/etc/x", std::string("nul\0byte", 8)}) {
    tar_.clear();
    catalog_.dirs["evil"] = {{"", dir_of({file(name, "bad")})}};
    restore_it();
    expect_untouched();
  }
}

TEST_F(HostileTest, PathsOfDirectoriesAreReachedFromTheRootOrNotAtAll) {
  for (const std::string path : {"..", "../outside", "/", "//etc", "a/../../outside", "."}) {
    tar_.clear();
    catalog_.dirs["evil"] = {{"", dir_of({})}, {path, dir_of({file("x", "bad")})}};
    restore_it();
    expect_untouched();
  }
}

TEST_F(HostileTest, GuestsThatLeadOutAreRefused) {
  for (const std::string guest : {"..", "../outside", "/tmp/x", ""}) {
    catalog_.dirs = {{guest, {{"", dir_of({file("x", "bad")})}}}};
    restore_it();
    expect_untouched();
  }
}

TEST_F(HostileTest, NothingIsWrittenThroughASymlink) {
  // The directory "link" is a symlink by the parent's record and a directory with a file by its own.
  Entry link = plain("link", 'l');
  link.target = outside_;
  catalog_.dirs["evil"] = {{"", dir_of({link})}, {"link", dir_of({file("x", "bad")})}};
  EXPECT_EQ(restore_it(), "");
  expect_untouched();
  // One name twice, a symlink and a directory: not sorted, so no catalog of ours.
  fs::remove_all(dir_ / "target");
  catalog_.dirs["evil"] = {{"", dir_of({link, plain("link", 'd')})}, {"link", dir_of({file("y", "bad")})}};
  restore_it();
  expect_untouched();
}

TEST_F(HostileTest, AHardLinkGoesOnlyToWhatThisRunMade) {
  Entry a = file("a", "one"), b = plain("b", 'f');
  a.linked = b.linked = true;
  a.group = b.group = 5;
  catalog_.dirs["evil"] = {{"", dir_of({a, b})}};
  EXPECT_EQ(restore_it(), "");
  EXPECT_EQ(test::read_file(dir_ / "target/evil/b"), "one");
  expect_untouched();
}

TEST_F(HostileTest, AGiganticSizeCostsNothing) {
  Entry huge = file("huge", "small");
  huge.size = uint64_t{INT64_MAX};
  catalog_.dirs["evil"] = {{"", dir_of({huge})}};
  EXPECT_EQ(restore_it(), "");
  EXPECT_EQ(failed_, 1u);
  EXPECT_FALSE(fs::exists(dir_ / "target/evil/huge"));
}

TEST_F(HostileTest, OffsetsThatLeadNowhereAreNamed) {
  Entry lost = file("lost", "x");
  lost.offset = uint64_t{1} << 60;
  Entry inside = file("middle", "yyyy");
  inside.offset += 100;  // into the middle of a header
  catalog_.dirs["evil"] = {{"", dir_of({lost, inside})}};
  EXPECT_EQ(restore_it(), "");
  EXPECT_EQ(failed_, 2u);
}

TEST_F(HostileTest, AFrameThatUnpacksToMoreThanItSaysIsRefused) {
  const std::string bomb = compressed(std::string(100 << 20, '\0'), 19);  // a few kilobytes
  EXPECT_FALSE(unpack_frame(bomb, 1000));
  EXPECT_FALSE(unpack_frame(bomb, 0xffffffff));
  EXPECT_FALSE(decompressed(bomb, 1 << 20));
}

TEST_F(HostileTest, DevicesCanBeLeftOut) {
  Entry device = plain("null", 'c');
  device.rdev = 0x103;
  catalog_.dirs["evil"] = {{"", dir_of({device})}};
  EXPECT_EQ(restore_it(), "");
  EXPECT_TRUE(fs::is_character_file(dir_ / "target/evil/null"));
}

TEST(CatalogTest, WhatClaimsGigabytesIsNotUnpacked) {
  Catalog catalog;
  catalog.header.kind = "full";
  std::string bytes = value_or_throw(catalog_bytes(catalog));
  const size_t records = bytes.rfind("\x28\xb5\x2f\xfd");
  bytes.replace(records, std::string::npos, compressed(std::string(300 << 20, '\0'), 1));
  ASSERT_LT(bytes.size(), 40'000u);
  const auto parsed = parse_catalog(bytes, "it");
  ASSERT_FALSE(parsed);
  EXPECT_THAT(parsed.error().message, testing::HasSubstr("claim to unpack to 314572800"));
}

TEST(CatalogTest, WhatPacksBetterThanAReaderBelievesIsRead) {
  Catalog catalog;
  catalog.header.kind = "full";
  Entry file = plain("a", 'f');
  file.xattrs = std::string(100 << 20, 'x');
  catalog.dirs["g"] = {{"", dir_of({file})}};
  const auto parsed = parse_catalog(value_or_throw(catalog_bytes(catalog)), "it");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->dirs, catalog.dirs);
}

TEST(CatalogTest, AnyTruncationOrFlipIsRefusedOrParsedWithoutHarm) {
  Catalog catalog;
  catalog.header.kind = "full";
  catalog.dirs["g"] = {{"", dir_of({plain("a", 'f'), plain("b", 'l'), plain("c", 'd')})}, {"c", dir_of({})}};
  const std::string bytes = value_or_throw(catalog_bytes(catalog));
  ASSERT_TRUE(parse_catalog(bytes, "it"));
  for (size_t i = 0; i < bytes.size(); ++i) {
    EXPECT_FALSE(parse_catalog(bytes.substr(0, i), "it")) << i;
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x41);
    (void)parse_catalog(flipped, "it");
  }
}

}  // namespace
}  // namespace vs::backup
