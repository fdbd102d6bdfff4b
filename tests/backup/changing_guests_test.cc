// Guests that change between the moment in which their names are listed and that in which they are read.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>
#include <utility>

#include "backup/archive/set_target.h"
#include "backup/backup.h"
#include "backup/restore/restore.h"
#include "tests/backup/quiet_run.h"
#include "tests/support/run.h"
#include "tests/support/temp_dir.h"

namespace vs::backup {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string content(char letter, size_t size) {
  return std::string(size, letter);
}

class ChangingGuests : public testing::Test, protected test::QuietRun {
 protected:
  ChangingGuests() {
    fs::create_directories(tree("a"));
    fs::create_directories(tree("b"));
  }
  std::string tree(const std::string& guest) const { return dir_ / ("trees/" + guest); }
  std::string a(const std::string& file) const { return tree("a") + "/" + file; }
  std::string b(const std::string& file) const { return tree("b") + "/" + file; }

  void write(const std::string& path, const std::string& bytes) const {
    fs::create_directories(fs::path(path).parent_path());
    test::write_file(path, bytes);
  }
  // As a package manager does it: another inode under the same name.
  void replace(const std::string& path, const std::string& bytes) const {
    write(path + ".new", bytes);
    fs::rename(path + ".new", path);
  }
  void link(const std::string& from, const std::string& to) const {
    fs::create_directories(fs::path(to).parent_path());
    fs::create_hard_link(from, to);
  }

  // A backup of both; `change` happens right after all names were listed.
  CreateResult backup(const std::function<void()>& change) {
    std::vector<std::unique_ptr<Target>> targets;
    auto set = std::make_unique<SetTarget>(dir_ / "set", ArchiveOptions{.init = true});
    const std::string last = set->last_stamp();
    targets.push_back(std::move(set));
    std::vector<Guest> guests;
    for (const char* name : {"a", "b"}) guests.push_back({name, "--tree", RootDir(tree(name))});
    bool changed = false;
    CreateOptions options;
    options.state = dir_ / "state";
    options.before_finish.must_hold = [&] {
      if (!std::exchange(changed, true)) change();
    };
    return create_backup(std::move(guests), targets, last, options, context_);
  }
  // The tree of a guest as the last backup has it.
  std::string restored(const std::string& guest) {
    const std::string into = dir_ / ("restored" + std::to_string(++restores_));
    StoredBackups backups(dir_ / "set");
    RestoreOptions options;
    options.target = into;
    restore(backups, {{guest, std::nullopt, ""}}, options, context_);
    return into + "/" + guest;
  }
  // The archives are also what stock tools make of them: each of a guest alone, its links within itself.
  void expect_tar_unpacks(const std::string& guest) const {
    const auto result =
        test::run({"bash", "-c",
                   "mkdir -p \"$1/tar\" && cd \"$1/tar\" && for f in ../set/pool-*.tar.zst ../set/" + guest +
                       "-*.tar.zst; do [ -e \"$f\" ] || continue; zstd -dc \"$f\" | tar -x || exit; done",
                   "bash", dir_.path()});
    EXPECT_EQ(result.exit_code, 0) << result.err;
  }

  test::TempDir dir_;
  int restores_ = 0;
};

// Sizes of what is read in one piece, and of what is read in parts.
class ChangingSharedFile : public ChangingGuests, public testing::WithParamInterface<size_t> {
 protected:
  ChangingSharedFile() {
    write(a("share/f"), content('x', GetParam()));
    link(a("share/f"), b("share/f"));
  }
};

TEST_P(ChangingSharedFile, AGuestTakesNothingFromAnotherByRenamingItsDirectory) {
  const auto result = backup([&] { fs::rename(a("share"), a("elsewhere")); });
  EXPECT_EQ(result.counts.failed, 0u);
  EXPECT_EQ(log_.failed_objects(), 0u);
  EXPECT_EQ(test::read_file(restored("b") + "/share/f"), content('x', GetParam()));
  expect_tar_unpacks("b");
}

TEST_P(ChangingSharedFile, AGuestGivesItsBytesToNobodyByAnotherFileInThePlace) {
  backup([&] {
    fs::rename(a("share"), a("elsewhere"));
    write(a("share/f"), content('a', GetParam()));
  });
  EXPECT_EQ(test::read_file(restored("b") + "/share/f"), content('x', GetParam()));
}

TEST_P(ChangingSharedFile, WhenEachNameBecameAnotherFileEachIsStored) {
  backup([&] {
    replace(a("share/f"), content('a', GetParam()));
    replace(b("share/f"), content('b', GetParam()));
  });
  EXPECT_EQ(log_.failed_objects(), 0u);
  EXPECT_EQ(test::read_file(restored("a") + "/share/f"), content('a', GetParam()));
  EXPECT_EQ(test::read_file(restored("b") + "/share/f"), content('b', GetParam()));
  expect_tar_unpacks("a");
}

TEST_P(ChangingSharedFile, WhenAllNamesAreGoneNothingIsStoredAndNothingFailed) {
  backup([&] {
    fs::remove(a("share/f"));
    fs::remove(b("share/f"));
  });
  EXPECT_EQ(log_.failed_objects(), 0u);
  EXPECT_FALSE(fs::exists(restored("b") + "/share/f"));
  expect_tar_unpacks("b");
}

TEST_P(ChangingSharedFile, WithinOneGuestTheOtherNameIsRead) {
  write(a("first/g"), content('y', GetParam()));
  link(a("first/g"), a("keep/g"));
  backup([&] { fs::rename(a("first"), a("elsewhere")); });
  EXPECT_EQ(log_.failed_objects(), 0u);
  EXPECT_EQ(test::read_file(restored("a") + "/keep/g"), content('y', GetParam()));
  expect_tar_unpacks("a");
}

TEST_P(ChangingSharedFile, WithinOneGuestEachNameThatBecameAnotherFileIsStored) {
  write(a("first/g"), content('y', GetParam()));
  link(a("first/g"), a("keep/g"));
  backup([&] {
    replace(a("first/g"), content('1', GetParam()));
    replace(a("keep/g"), content('2', GetParam()));
  });
  EXPECT_EQ(log_.failed_objects(), 0u);
  const std::string back = restored("a");
  EXPECT_EQ(test::read_file(back + "/first/g"), content('1', GetParam()));
  EXPECT_EQ(test::read_file(back + "/keep/g"), content('2', GetParam()));
  expect_tar_unpacks("a");
}

INSTANTIATE_TEST_SUITE_P(Sizes, ChangingSharedFile, testing::Values(100, 5'000'000));

TEST_F(ChangingGuests, ASymlinkWithSeveralNamesIsFoundByEachOfThem) {
  fs::create_directories(a("first"));
  fs::create_symlink("target", a("first/l"));
  link(a("first/l"), a("keep/l"));
  link(a("first/l"), b("keep/l"));
  backup([&] { fs::rename(a("first"), a("elsewhere")); });
  EXPECT_EQ(fs::read_symlink(restored("a") + "/keep/l"), "target");
  EXPECT_EQ(fs::read_symlink(restored("b") + "/keep/l"), "target");
}

TEST_F(ChangingGuests, NothingInAnArchiveIsALinkToASocket) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{AF_UNIX, {}};
  const std::string path = a("s");
  ASSERT_LT(path.size(), sizeof address.sun_path);
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
  link(a("s"), a("t"));
  link(a("s"), b("s"));
  backup([] {});
  EXPECT_TRUE(fs::is_socket(restored("a") + "/t"));
  EXPECT_TRUE(fs::is_socket(restored("b") + "/s")) << "of another guest, and still its own";
  expect_tar_unpacks("a");
  expect_tar_unpacks("b");
}

TEST_F(ChangingGuests, WhatBecameAnotherKindOfThingIsNamed) {
  write(a("f"), "file");
  write(a("g"), "file");
  backup([&] {
    fs::remove(a("f"));
    fs::create_symlink("g", a("f"));
    fs::remove(a("g"));
    fs::create_directory(a("g"));
  });
  EXPECT_EQ(log_.failed_objects(), 2u);
}

TEST_F(ChangingGuests, AFileThatGrewBeyondOnePieceIsStoredAsItWas) {
  const std::string before = content('l', (4 << 20) - 10);
  write(a("log"), before);
  const auto result = backup([&] { write(a("log"), before + content('m', 100)); });
  EXPECT_EQ(log_.failed_objects(), 0u);
  EXPECT_EQ(result.counts.inconsistent, 1u);
  EXPECT_EQ(test::read_file(restored("a") + "/log"), before);
  const auto again = backup([] {});
  EXPECT_EQ(again.counts.inconsistent, 0u);
  EXPECT_EQ(test::read_file(restored("a") + "/log"), before + content('m', 100));
}

// A page that is dirty takes writes through a mapping without moving ctime, for as long as it is not written
// back: 30 s, mostly.
class WrittenThroughAMapping : public ChangingGuests, public testing::WithParamInterface<size_t> {
 protected:
  WrittenThroughAMapping() {
    write(a("db"), content('0', GetParam()));
    fd_ = ::open(a("db").c_str(), O_RDWR);
    ::fsync(fd_);
    map_ = static_cast<char*>(::mmap(nullptr, GetParam(), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
  }
  ~WrittenThroughAMapping() override {
    ::munmap(map_, GetParam());
    ::close(fd_);
  }
  int fd_ = -1;
  char* map_ = nullptr;
};

TEST_P(WrittenThroughAMapping, IsInTheNextBackupWhateverCtimeSays) {
  ASSERT_NE(map_, MAP_FAILED);
  map_[0] = '1';
  std::this_thread::sleep_for(std::chrono::milliseconds(2500));  // what is tested: a ctime old enough
  backup([] {});
  map_[0] = '2';
  backup([] {});
  EXPECT_EQ(test::read_file(restored("a") + "/db")[0], '2');
}

TEST_P(WrittenThroughAMapping, BetweenTwoBackupsByANewMappingIsSeenToo) {
  map_[0] = '1';
  ::munmap(map_, GetParam());
  ::close(fd_);
  std::this_thread::sleep_for(std::chrono::milliseconds(2500));  // what is tested: a ctime old enough
  backup([] {});
  fd_ = ::open(a("db").c_str(), O_RDWR);
  map_ = static_cast<char*>(::mmap(nullptr, GetParam(), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
  ASSERT_NE(map_, MAP_FAILED);
  map_[0] = '2';
  const auto result = backup([] {});
  EXPECT_EQ(test::read_file(restored("a") + "/db")[0], '2');
  EXPECT_EQ(result.counts.alarms, 0u);
}

INSTANTIATE_TEST_SUITE_P(Sizes, WrittenThroughAMapping, testing::Values(8192, 5'000'000));

// A file that nobody writes to is believed.
TEST_F(ChangingGuests, WhatNobodyHasOpenForWritingIsNotReadAgain) {
  write(a("f"), "file");
  std::this_thread::sleep_for(std::chrono::milliseconds(2500));  // what is tested: a ctime old enough
  backup([] {});
  EXPECT_EQ(backup([] {}).counts.files_read, 0u);
}

}  // namespace
}  // namespace vs::backup
