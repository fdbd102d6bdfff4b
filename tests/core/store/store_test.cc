#include "core/store/store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/hex.h"
#include "tests/core/sealing.h"
#include "tests/support/skip.h"

namespace vs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    unit::make_dirs(dir_ / "guest");
    guests_.push_back({"guest", "--tree", RootDir(dir_ / "guest")});
    pool_ = find_pool(guests_);
  }
  std::unique_ptr<Store> open(const std::string& path, bool create = true) const {
    return Store::open(path, pool_, guests_, create);
  }
  std::string refusal(const std::string& path, bool create = true) const {
    try {
      open(path, create);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Exit::usage) << error.what();
      return error.what();
    }
    return "";
  }
  std::string path() const { return dir_ / ".unify"; }

  const unit::ScratchDir dir_;
  std::vector<Guest> guests_;
  Pool pool_;
};

TEST_F(StoreTest, IsMadeForRootAloneWithEverythingInIt) {
  const auto store = open(path());
  EXPECT_EQ(unit::lstat_of(path()).st_mode & 07777, 0700u);
  for (const char* part : {"masters/00", "masters/ff", "staging", "lost", "id"})
    EXPECT_TRUE(unit::exists(path() + "/" + part)) << part;
  EXPECT_THAT(store->id(), testing::MatchesRegex("[0-9a-f]{32}"));
  EXPECT_THAT(store->list_masters(), IsEmpty());
  EXPECT_THAT(store->list_staging(), IsEmpty());
}

TEST_F(StoreTest, KeepsItsIdentity) {
  const std::string id = open(path())->id();
  EXPECT_EQ(open(path())->id(), id);
  EXPECT_EQ(open(path(), false)->id(), id);
  EXPECT_NE(open(dir_ / "other")->id(), id);
}

TEST_F(StoreTest, LookingMakesNone) {
  EXPECT_EQ(open(path(), false), nullptr);
  EXPECT_FALSE(unit::exists(path()));
}

TEST_F(StoreTest, ADirectoryThatIsNoStoreIsNotTakenForOne) {
  unit::make_dirs(path());
  ::chmod(path().c_str(), 0700);
  EXPECT_THROW(open(path(), false), Error);
  EXPECT_THAT(std::distance(std::filesystem::directory_iterator(path()), {}), 0) << "looking changed it";
}

TEST_F(StoreTest, IsRefusedInAGuestsTree) {
  unit::make_dirs(dir_ / "guest/sub/dir");
  for (const char* place : {"guest/.unify", "guest/sub/dir/.unify"}) {
    EXPECT_THAT(refusal(dir_ / place), HasSubstr("inside the tree of guest")) << place;
    EXPECT_FALSE(unit::exists(dir_ / place));
  }
  EXPECT_THAT(refusal(dir_ / "guest"), HasSubstr("inside the tree of guest"));
}

// The way to it does not count, the place does.
TEST_F(StoreTest, IsRefusedInAGuestsTreeBehindASymlink) {
  unit::make_symlink("guest", dir_ / "link");
  EXPECT_THAT(refusal(dir_ / "link/.unify"), HasSubstr("inside the tree of guest"));
  unit::make_dirs(dir_ / "guest/store");
  unit::make_symlink("guest/store", path());
  EXPECT_NE(refusal(path()), "");
}

TEST_F(StoreTest, IsRefusedOnAnotherMount) {
  if (!unit::is_root() || ::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    VS_SKIP(kRoot) << "mounting needs root";
  unit::make_dirs(dir_ / "other");
  ASSERT_EQ(::mount("none", (dir_ / "other").c_str(), "tmpfs", 0, nullptr), 0);
  EXPECT_THAT(refusal(dir_ / "other/.unify"), HasSubstr("not on the filesystem of the trees"));
  EXPECT_FALSE(unit::exists(dir_ / "other/.unify"));
  // The store's own directory is a mount point.
  unit::make_dirs(path());
  ASSERT_EQ(::mount("none", path().c_str(), "tmpfs", 0, nullptr), 0);
  EXPECT_NE(refusal(path()), "");
  ::umount2(path().c_str(), MNT_DETACH);
  ::umount2((dir_ / "other").c_str(), MNT_DETACH);
}

TEST_F(StoreTest, IsRefusedWhereOthersCanWriteOrItIsNotOurs) {
  unit::make_dirs(path());
  ::chmod(path().c_str(), 0777);
  EXPECT_NE(refusal(path()), "");
  ::chmod(path().c_str(), 0700);
  if (!unit::is_root()) VS_SKIP(kRoot) << "another owner: needs root";
  ASSERT_EQ(::chown(path().c_str(), 65534, 65534), 0);
  EXPECT_NE(refusal(path()), "");
}

// Index and history know the store by its id, so it is never replaced.
TEST_F(StoreTest, ADamagedIdIsToldAndKept) {
  open(path());
  for (const char* id : {"", "short", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"}) {
    unit::write_file(path() + "/id", id, 0600);
    EXPECT_THROW(open(path(), false), Error) << id;
    EXPECT_THROW(open(path(), true), Error) << id;
    EXPECT_EQ(unit::read_file(path() + "/id"), id);
  }
}

// --- Masters -----------------------------------------------------------------------------------------------

UniqueFd nameless(const Store& store, std::string_view content) {
  UniqueFd fd(value_or_throw(open_scratch_file(store.staging_fd())));
  if (::pwrite(fd.get(), content.data(), content.size(), 0) < 0) throw std::runtime_error("write");
  return fd;
}

TEST_F(StoreTest, NamesMastersByContentAndClass) {
  const auto store = open(path());
  const std::string sha256 = std::string(32, '\xa5');
  const FileClass plain{0, 0, 0100644, 1, 0}, other{0, 0, 0100755, 1, 0};
  const UniqueFd a = nameless(*store, "content"), b = nameless(*store, "content"),
                 c = nameless(*store, "content");
  const auto first = store->name_master(a.get(), sha256, plain);
  const auto second =
      store->name_master(b.get(), sha256, plain);  // a rotated one: the first has all the links it can have
  const auto third = store->name_master(c.get(), sha256, other);
  ASSERT_TRUE(first && second && third);
  EXPECT_TRUE(first->starts_with(hex(sha256).substr(0, 2) + "/" + hex(sha256).substr(2) + "-"));
  EXPECT_EQ(std::set<std::string>({*first, *second, *third}).size(), 3u);
  const auto listed = store->list_masters();
  ASSERT_THAT(listed, SizeIs(3));
  EXPECT_TRUE(std::is_sorted(listed.begin(), listed.end(),
                             [](const auto& x, const auto& y) { return x.name < y.name; }));
  for (const auto& stored : listed) EXPECT_EQ(stored.ino, store->stat_master(stored.name)->ino);
}

TEST_F(StoreTest, OpensStatsAndRemovesAMaster) {
  const auto store = open(path());
  const auto name = store->name_master(nameless(*store, "content").get(), std::string(32, '\1'), {});
  ASSERT_TRUE(name);
  const auto fd = store->open_master(*name);
  ASSERT_TRUE(fd);
  EXPECT_EQ(::fcntl(fd->get(), F_GETFL) & O_ACCMODE, O_RDONLY);
  EXPECT_EQ(store->stat_master(*name)->size, 7u);
  EXPECT_TRUE(store->remove_master(*name));
  EXPECT_FALSE(store->open_master(*name));
  EXPECT_THAT(store->list_masters(), IsEmpty());
}

TEST_F(StoreTest, OpensNoSymlinkForAMaster) {
  const auto store = open(path());
  unit::make_symlink("/etc/passwd", path() + "/masters/ab/link");
  EXPECT_FALSE(store->open_master("ab/link"));
}

TEST_F(StoreTest, IsLockedByOneRun) {
  const auto store = open(path());
  EXPECT_FALSE(store->is_locked());
  const HostLock held = store->lock();
  EXPECT_TRUE(store->is_locked());
  EXPECT_THROW(open(path())->lock(), Error);
}

TEST_F(StoreTest, TheDefaultPlaceIsTheTopOfThePool) {
  Pool pool;
  pool.top = "/";
  EXPECT_EQ(Store::default_path(pool), "/.unify");
  pool.top = "/srv/guests";
  EXPECT_EQ(Store::default_path(pool), "/srv/guests/.unify");
}

}  // namespace
}  // namespace vs
