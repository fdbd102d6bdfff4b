// Runs twice, the second time with VS_NO_OPENAT2=1.
#include "unify/scan/scanner.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <tbb/global_control.h>

#include <mutex>
#include <set>

#include "core/tree/listing.h"
#include "tests/support/skip.h"
#include "tests/unify/fixture.h"

namespace vs {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Wants every file, keeps those that are not named "drop", does not enter what is named "skip".
class EveryFile final : public ScanVisitor {
 public:
  std::unique_ptr<DirectoryVisitor> enter(GuestNumber guest, std::string_view path,
                                          const FileStat& dir) override {
    const std::lock_guard lock(mutex_);
    entered.insert(std::to_string(guest.value) + ":" + std::string(path));
    EXPECT_TRUE(S_ISDIR(dir.mode));
    if (path.ends_with("skip")) return nullptr;
    return std::make_unique<Directory>(*this);
  }
  std::set<std::string> entered, asked;

 private:
  class Directory final : public DirectoryVisitor {
   public:
    explicit Directory(EveryFile& all) : all_(all) {}
    ~Directory() override {
      const std::lock_guard lock(all_.mutex_);
      all_.asked.insert(asked_.begin(), asked_.end());
    }
    std::optional<uint32_t> wants(const DirEntry& entry) override {
      asked_.insert(std::string(entry.name));
      if (entry.name == "unwanted") return std::nullopt;
      return 7;
    }
    bool keep(const DirEntry& entry, const FileStat& stat) override {
      EXPECT_EQ(entry.ino, stat.ino);
      return entry.name != "drop";
    }

   private:
    EveryFile& all_;
    std::set<std::string> asked_;
  };
  std::mutex mutex_;
};

class ScannerTest : public testing::Test {
 protected:
  ScannerTest() {
    for (const char* name : {"a", "b"}) {
      unit::make_dirs(dir_ / name);
      guests_.push_back({name, "--tree", RootDir(dir_ / name)});
    }
  }
  void file(const std::string& path) const { unit::write_file(dir_ / path, "x"); }
  std::vector<std::string> scan() {
    table_ = {};
    counts_ = scan_trees(guests_, visitor_, table_, context_.run);
    std::vector<std::string> paths;
    for (const auto& row : table_.rows())
      paths.push_back(guests_[table_.guest(row)].name + "/" + table_.path(row));
    return paths;
  }
  DirListing list(const std::string& path) {
    DirReader reader;
    return list_directory(guests_.front(), GuestNumber(0), path, visitor_, reader);
  }

  const unit::ScratchDir dir_;
  TypedVector<GuestNumber, Guest> guests_;
  EveryFile visitor_;
  FileTable table_;
  ScanCounts counts_;
  unit::Context context_;
};

TEST_F(ScannerTest, KeepsARowForEachWantedFileOfAllGuests) {
  for (const char* path : {"a/top", "a/usr/bin/ls", "b/usr/bin/ls", "b/drop", "b/unwanted", "a/skip/x"})
    file(path);
  EXPECT_THAT(scan(), ElementsAre("a/top", "a/usr/bin/ls", "b/usr/bin/ls"));
  for (const auto& row : table_.rows()) EXPECT_EQ(row.tag, 7u);
  EXPECT_EQ(counts_.problems, 0u);
  EXPECT_FALSE(visitor_.asked.contains("x"));
}

TEST_F(ScannerTest, TheRowIsTheStatOfTheFile) {
  file("a/f");
  scan();
  const auto raw = unit::lstat_of(dir_ / "a/f");
  const FileRow& row = table_.rows().front();
  EXPECT_EQ(row.ino, raw.st_ino);
  EXPECT_EQ(row.size, static_cast<uint64_t>(raw.st_size));
  EXPECT_EQ(row.mtime_ns, raw.st_mtim.tv_sec * 1'000'000'000 + raw.st_mtim.tv_nsec);
  EXPECT_EQ(row.mode, raw.st_mode);
}

TEST_F(ScannerTest, AsksForNothingThatIsNoRegularFile) {
  unit::make_symlink("/etc/passwd", dir_ / "a/link");
  unit::make_symlink("/etc", dir_ / "a/dirlink");
  unit::make_fifo(dir_ / "a/fifo");
  unit::make_dirs(dir_ / "a/dir");
  EXPECT_THAT(scan(), IsEmpty());
  EXPECT_THAT(visitor_.asked, IsEmpty());
  EXPECT_THAT(visitor_.entered, testing::UnorderedElementsAre("0:", "1:", "0:dir"));
}

TEST_F(ScannerTest, NeverEntersAnotherMount) {
  if (!unit::is_root() || ::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    VS_SKIP(kRoot) << "mounting needs root";
  unit::make_dirs(dir_ / "a/bind");
  unit::make_dirs(dir_ / "a/proc");
  file("outside/secret");
  ASSERT_EQ(::mount((dir_ / "outside").c_str(), (dir_ / "a/bind").c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(::mount("none", (dir_ / "a/proc").c_str(), "tmpfs", 0, nullptr), 0);
  file("a/proc/x");
  EXPECT_THAT(scan(), IsEmpty());
  EXPECT_EQ(counts_.problems, 0u) << "a mount in a guest is no trouble";
  for (const char* path : {"a/bind", "a/proc"}) ::umount2((dir_ / path).c_str(), MNT_DETACH);
}

TEST_F(ScannerTest, NamesMayBeAnyBytes) {
  for (const char* name : {"a/new\nline", "a/\xff\xfe", "a/\x1b[2J/ x", "a/-rf"}) file(name);
  EXPECT_EQ(scan().size(), 4u);
  EXPECT_EQ(counts_.problems, 0u);
}

TEST_F(ScannerTest, ReadsPathsLongerThanPathMax) {
  UniqueFd deepest;
  const std::string deep = unit::make_deep(dir_ / "a", std::string(250, 'd'), 30, deepest);
  const UniqueFd leaf(::openat(deepest.get(), "leaf", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  EXPECT_THAT(scan(), ElementsAre("a/" + deep + "/leaf"));
}

// A guest can nest without end to keep us busy; what is deeper than any package is told once and left.
TEST_F(ScannerTest, GivesUpOnATreeWithoutEnd) {
  UniqueFd deepest;
  unit::make_deep(dir_ / "a", "d", kDeepestDirectory + 20, deepest);
  const UniqueFd leaf(::openat(deepest.get(), "leaf", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  file("b/f");
  EXPECT_THAT(scan(), ElementsAre("b/f"));
  EXPECT_EQ(counts_.problems, 1u);
  EXPECT_EQ(context_.log.failed_objects(), 1u);
}

TEST_F(ScannerTest, ADirectoryThatWentAwayIsNoTrouble) {
  EXPECT_THAT(list("gone").problems, IsEmpty());
  file("a/f");
  EXPECT_THAT(list("f").problems, IsEmpty());
  unit::make_symlink("/etc", dir_ / "a/link");
  const DirListing swapped = list("link");
  EXPECT_THAT(swapped.problems, IsEmpty());
  EXPECT_EQ(swapped.entries, 0u);
}

TEST_F(ScannerTest, ADirectoryThatCannotBeReadIsToldAndTheRestScanned) {
  if (!unit::is_root()) VS_SKIP(kRoot) << "needs two users";
  file("a/closed/x");
  file("a/open/y");
  ASSERT_EQ(::chmod((dir_ / "a/closed").c_str(), 0), 0);
  ASSERT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
  ASSERT_EQ(::seteuid(65534), 0);
  const auto paths = scan();
  ASSERT_EQ(::seteuid(0), 0);
  EXPECT_THAT(paths, ElementsAre("a/open/y"));
  EXPECT_EQ(counts_.problems, 1u);
}

TEST_F(ScannerTest, MakesTheSameTableWithAnyNumberOfThreads) {
  for (int d = 0; d < 40; ++d)
    for (int f = 0; f < 5; ++f)
      file((d % 2 ? "a/d" : "b/d") + std::to_string(d) + "/e/f" + std::to_string(f));
  std::vector<std::vector<std::string>> tables;
  for (const size_t threads : {1, 2, 8}) {
    tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads);
    tables.push_back(scan());
  }
  EXPECT_EQ(tables[0].size(), 200u);
  EXPECT_EQ(tables[0], tables[1]);
  EXPECT_EQ(tables[0], tables[2]);
}

TEST_F(ScannerTest, StopsWhenCancelled) {
  file("a/f");
  context_.cancel.request();
  EXPECT_THAT(scan(), IsEmpty());
  EXPECT_THAT(visitor_.entered, IsEmpty());
}

}  // namespace
}  // namespace vs
