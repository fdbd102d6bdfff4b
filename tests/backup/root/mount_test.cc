// `vbackup mount`, looked into as anybody would: what is there is what a restore gives back, or EIO.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>

#include "core/unique_fd.h"
#include "tests/backup/backup_host.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

std::optional<Obstacle> no_fuse() {
  const UniqueFd fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!fd) return Obstacle{Skip::kKernel, std::string("/dev/fuse: ") + std::strerror(errno)};
  return without_program("fusermount3", "fuse3");
}

bool is_mounted(const std::string& path) {
  struct stat here {
  }, above{};
  // One whose process is gone cannot be asked, and is mounted all the same.
  if (::stat(path.c_str(), &here) != 0) return errno != ENOENT;
  return ::stat((path + "/..").c_str(), &above) == 0 && here.st_dev != above.st_dev;
}

// A mount in the foreground, ended with its scope.
class Mount {
 public:
  Mount(const BackupHost& host, const std::string& path, const Command& more = {})
      : path_(path), process_(line(host, path, more)) {
    if (!within(10s, [&] { return is_mounted(path_) || !process_->running(); }) || !process_->running())
      ADD_FAILURE() << shown(process_->wait());
  }
  ~Mount() {
    if (process_ && process_->running()) end(SIGTERM);
    ::umount2(path_.c_str(), MNT_DETACH);
  }
  Mount(const Mount&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  bool running() const { return process_->running(); }
  RunResult end(int signal) {
    if (signal != 0) process_->signal(signal);
    const RunResult result = process_->wait();
    process_.reset();
    return result;
  }

 private:
  static Command line(const BackupHost& host, const std::string& path, const Command& more) {
    fs::create_directories(path);
    Command all = host.command("mount", {"--foreground", path});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string path_;
  std::optional<Process> process_;
};

// The errno of reading all of a file, or 0.
int read_errno(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return errno;
  char buffer[65536];
  ssize_t got = 0;
  while ((got = ::read(fd.get(), buffer, sizeof buffer)) > 0) {
  }
  return got < 0 ? errno : 0;
}

int list_errno(const std::string& path) {
  DIR* list = ::opendir(path.c_str());
  if (list == nullptr) return errno;
  ::closedir(list);
  return 0;
}

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) names.push_back(entry.path().filename());
  return names;
}

// A mount shows no inode flags and projects.
EverythingOptions without_flags() {
  EverythingOptions options;
  options.flags = false;
  return options;
}

class MountTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_STOP_IF(no_fuse());
    host_.make_guests();
    night();
  }
  void TearDown() override { ::umount2(at_.c_str(), MNT_DETACH); }
  void night() {
    const RunResult result = host_.create({"--consistency", "live"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    stamps_.push_back(host_.last_stamp());
  }
  std::string archive(const std::string& prefix, const std::string& stamp, const std::string& suffix) const {
    for (const auto& entry : fs::directory_iterator(host_.set()))
      if (const std::string name = entry.path().filename();
          name.starts_with(prefix) && name.ends_with(stamp + suffix))
        return entry.path();
    return {};
  }

  BackupHost host_;
  const std::string at_ = host_.scratch("mounted");
  std::vector<std::string> stamps_;
};

TEST_F(MountTest, ShowsEveryStateAsARestoreGivesItBack) {
  for (int round = 1; round <= 2; ++round) {
    host_.change(round);
    night();
  }
  const Mount mount(host_, at_);
  EXPECT_THAT(names_in(at_), UnorderedElementsAre("alpha", "beta"));
  EXPECT_THAT(names_in(mount / "alpha"), UnorderedElementsAre(stamps_[0], stamps_[1], stamps_[2], "latest"));
  for (const auto& stamp : stamps_) {
    const auto restored = host_.restored(stamp, stamp);
    for (const std::string guest : {"alpha", "beta"}) {
      const Everything expected = everything_of({{guest, restored.at(guest)}}, without_flags());
      ASSERT_GT(expected.size(), 5u);
      EXPECT_EQ(
          difference(expected, everything_of({{guest, mount / (guest + "/" + stamp)}}, without_flags())), "")
          << guest << "@" << stamp;
    }
  }
  EXPECT_EQ(fs::read_symlink(mount / "alpha/latest"), stamps_[2]);
  EXPECT_EQ(read_file(mount / "alpha/latest/etc/round"), "round 2\n");
}

TEST_F(MountTest, NamesOfOneInodeHaveItsNumberAndItsCount) {
  const Mount mount(host_, at_);
  const auto stat_of = [&](const std::string& name) {
    struct stat stat {};
    EXPECT_EQ(::lstat((mount / ("alpha/latest/" + name)).c_str(), &stat), 0) << name;
    return stat;
  };
  for (const auto& names : {std::vector<std::string>{"etc/l1", "etc/l2", "usr/l3"},
                            {"usr/bin/program", "usr/bin/again"},
                            {"usr/link", "usr/link2"},
                            {"fifo", "fifo2"}})
    for (const auto& name : names) {
      EXPECT_EQ(stat_of(name).st_ino, stat_of(names.front()).st_ino) << name;
      EXPECT_EQ(stat_of(name).st_nlink, names.size()) << name;
    }
  EXPECT_EQ(stat_of("etc/one").st_nlink, 1u);
  EXPECT_EQ(stat_of("usr").st_nlink, 3u);
}

TEST_F(MountTest, GivesAnyPartOfALargeFileAndZerosForHoles) {
  const Mount mount(host_, at_);
  std::mt19937_64 random(5);
  for (const std::string name : {"large", "sparse", "zeros", "hole", "small-sparse", "usr/bin/program"}) {
    const std::string original = host_.tree("alpha") + "/" + name, shown = mount / ("alpha/latest/" + name);
    const UniqueFd a(::open(original.c_str(), O_RDONLY | O_CLOEXEC)),
        b(::open(shown.c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(a && b) << name;
    const auto size = static_cast<uint64_t>(fs::file_size(original));
    for (int i = 0; i < 200; ++i) {
      // Of the sparse file mostly about where its data is.
      const uint64_t about[] = {random() % size, 20'000'000, 290'000'000, size - 1};
      const auto at = static_cast<off_t>(
          about[i % 4] < size ? about[i % 4] - std::min(about[i % 4], random() % 9000) : random() % size);
      std::string expected(1 + random() % 300'000, 'x'), got = expected;
      const ssize_t length = ::pread(a.get(), expected.data(), expected.size(), at);
      ASSERT_EQ(::pread(b.get(), got.data(), got.size(), at), length) << name << " at " << at;
      ASSERT_TRUE(got == expected) << name << " at " << at;
    }
    for (off_t at = 0; at < static_cast<off_t>(size); at += 7'000'003) {
      EXPECT_EQ(::lseek(b.get(), at, SEEK_DATA), ::lseek(a.get(), at, SEEK_DATA)) << name << " at " << at;
      EXPECT_EQ(::lseek(b.get(), at, SEEK_HOLE), ::lseek(a.get(), at, SEEK_HOLE)) << name << " at " << at;
    }
  }
}

TEST_F(MountTest, ADamagedFrameIsAnErrorOfItsFileAlone) {
  const std::string path = archive("alpha-full", stamps_[0], ".tar.zst");
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  // In the middle of the large file, which is most of this archive.
  const auto middle = static_cast<off_t>(fs::file_size(path) / 2);
  char byte = 0;
  ASSERT_EQ(::pread(fd.get(), &byte, 1, middle), 1);
  byte = static_cast<char>(byte ^ 0x08);
  ASSERT_EQ(::pwrite(fd.get(), &byte, 1, middle), 1);

  Mount mount(host_, at_);
  const std::string top = mount / "alpha/latest";
  size_t good = 0;
  for (fs::recursive_directory_iterator it(top), end; it != end; ++it) {
    if (it->path().filename() == "deep") it.disable_recursion_pending();
    if (!it->is_regular_file() || it->is_symlink()) continue;
    const std::string name = it->path().filename();
    const bool damaged = name == "large" || name == "large2";
    EXPECT_EQ(read_errno(it->path()), damaged ? EIO : 0) << name;
    good += damaged ? 0 : 1;
  }
  EXPECT_GT(good, 15u);
  // The parts before and behind it are proved on their own.
  const UniqueFd large(::open((top + "/large").c_str(), O_RDONLY | O_CLOEXEC));
  std::string expected = read_file(host_.tree("alpha") + "/large").substr(0, 100), got(100, 'x');
  ASSERT_EQ(::pread(large.get(), got.data(), got.size(), 0), 100);
  EXPECT_EQ(got, expected);
  const RunResult ended = mount.end(SIGTERM);
  EXPECT_EQ(ended.exit_code, 3) << shown(ended);
  EXPECT_THAT(ended.err, HasSubstr("alpha@" + stamps_[0] + ":large: " + path + ": frame "));
}

TEST_F(MountTest, RightFramesWithOtherBytesAreRefused) {
  // An archive of the same tree but for the bytes of one file, in the place of the right one.
  const std::string one = host_.tree("alpha") + "/etc/one", other = host_.scratch("other");
  must_run({"bash", "-euc",
            "cp -p '" + one + "' '" + one + ".time'; echo ONE > '" + one + "'; touch -r '" + one +
                ".time' '" + one + "'; rm '" + one + ".time'"});
  Command create{vbackup_path(),     "create",        "--to", "archive:" + other, "--init", "--state",
                 host_.scratch("s"), "--consistency", "live"};
  for (const auto& [guest, tree] : host_.trees()) create.insert(create.end(), {"--tree", guest + "=" + tree});
  must_run(create);
  const std::string right = archive("alpha-full", stamps_[0], ".tar.zst");
  for (const auto& entry : fs::directory_iterator(other))
    if (entry.path().filename().string().starts_with("alpha-full") && entry.path().extension() == ".zst")
      fs::copy_file(entry.path(), right, fs::copy_options::overwrite_existing);
  Mount mount(host_, at_);
  EXPECT_EQ(read_errno(mount / "alpha/latest/etc/one"), EIO);
  EXPECT_EQ(read_file(mount / "alpha/latest/etc/two"), "two\n");
  EXPECT_THAT(mount.end(SIGTERM).err, HasSubstr("digest differs"));
}

TEST_F(MountTest, AStateWithAHoleInItsChainIsAnErrorAndTheOthersAreThere) {
  for (int round = 1; round <= 2; ++round) {
    host_.change(round);
    night();
  }
  for (const std::string suffix : {".tar.zst", ".catalog"})
    fs::remove(archive("alpha-inc", stamps_[1], suffix));
  Mount mount(host_, at_);
  EXPECT_THAT(names_in(mount / "alpha"), UnorderedElementsAre(stamps_[0], stamps_[2], "latest"));
  EXPECT_EQ(list_errno(mount / "alpha/latest/"), EIO);
  EXPECT_EQ(read_errno(mount / "alpha/latest/etc/one"), EIO);
  EXPECT_EQ(read_errno(mount / ("alpha/" + stamps_[0] + "/etc/one")), 0);
  EXPECT_EQ(read_errno(mount / "beta/latest/etc/only-2"), 0);
  const RunResult ended = mount.end(SIGINT);
  EXPECT_EQ(ended.exit_code, 3) << shown(ended);
  EXPECT_THAT(ended.err, HasSubstr("alpha@" + stamps_[2] + " cannot be restored"));
  EXPECT_FALSE(is_mounted(at_));
}

TEST_F(MountTest, NothingCanBeChangedRunOrUsedAsADevice) {
  const Mount mount(host_, at_);
  const std::string top = mount / "alpha/latest";
  const auto fails = [](int result) { return result < 0 ? errno : 0; };
  EXPECT_EQ(fails(::open((top + "/etc/one").c_str(), O_WRONLY)), EROFS);
  EXPECT_EQ(fails(::open((top + "/new").c_str(), O_WRONLY | O_CREAT, 0600)), EROFS);
  EXPECT_EQ(fails(::unlink((top + "/etc/one").c_str())), EROFS);
  EXPECT_EQ(fails(::chmod((top + "/etc/one").c_str(), 0777)), EROFS);
  EXPECT_EQ(fails(::open((top + "/null").c_str(), O_RDONLY)), EACCES);
  EXPECT_EQ(run({"sh", "-c", "'" + top + "/usr/bin/program'"}).exit_code, 126);
}

TEST_F(MountTest, OthersLookInOnlyIfAllowedAndAsFarAsModesAndAclsLetThem) {
  RunOptions nobody, member;
  nobody.uid = 65534;
  member.uid = 44;  // the group of etc/two
  // The mask gives the group of the file more than the ACL does.
  must_run({"bash", "-euc",
            "chmod 755 '" + host_.scratch("") + "' '" + host_.scratch("") + "/..' ; cd '" +
                host_.tree("alpha") +
                "' && chown 0:44 etc/l1 && chmod 640 etc/l1 && setfacl -m g::-,u:1000:rw etc/l1"});
  host_.change(1);
  night();
  const auto reads = [&](const std::string& name, const RunOptions& who) {
    return run({"cat", at_ + "/alpha/latest/" + name}, who).exit_code == 0;
  };
  {
    const Mount mount(host_, at_);
    EXPECT_FALSE(reads("etc/round", nobody));
  }
  const Mount mount(host_, at_, {"--allow-other"});
  EXPECT_TRUE(reads("etc/round", nobody));
  RunOptions acl;
  acl.uid = 1000;
  EXPECT_TRUE(reads("etc/l1", acl));
  EXPECT_FALSE(reads("etc/l1", member));
  EXPECT_FALSE(reads("etc/l1", nobody));
}

TEST_F(MountTest, EndsWhileAFileIsOpen) {
  Mount mount(host_, at_);
  UniqueFd fd(::open((mount / "alpha/latest/large").c_str(), O_RDONLY | O_CLOEXEC));
  char byte = 0;
  ASSERT_EQ(::pread(fd.get(), &byte, 1, 0), 1);
  EXPECT_NE(run({"fusermount3", "-u", at_}).exit_code, 0) << "it is busy";
  EXPECT_TRUE(mount.running());
  const RunResult ended = mount.end(SIGTERM);
  EXPECT_EQ(ended.exit_code, 0) << shown(ended);
  EXPECT_FALSE(is_mounted(at_));
  EXPECT_LT(::pread(fd.get(), &byte, 1, 9'000'000), 0);
  EXPECT_THAT(errno, AnyOf(ENOTCONN, ECONNABORTED));
}

TEST_F(MountTest, ASetThatIsDeletedUnderItGivesErrorsAndNoOtherBytes) {
  Mount mount(host_, at_);
  const UniqueFd fd(::open((mount / "alpha/latest/large").c_str(), O_RDONLY | O_CLOEXEC));
  const std::string expected = read_file(host_.tree("alpha") + "/large");
  std::string got(expected.size(), 'x');
  ASSERT_EQ(::pread(fd.get(), got.data(), 1000, 0), 1000);
  fs::remove_all(host_.set());
  EXPECT_EQ(::pread(fd.get(), got.data(), got.size(), 0), static_cast<ssize_t>(got.size()));
  EXPECT_TRUE(got == expected) << "the archive is open";
  EXPECT_EQ(read_errno(mount / "beta/latest/etc/one"), EIO) << "nobody looked into it";
  const RunResult unmounted = run({"fusermount3", "-uz", at_});
  EXPECT_EQ(unmounted.exit_code, 0) << shown(unmounted);
  EXPECT_FALSE(is_mounted(at_));
}

TEST_F(MountTest, ANewNightIsSeen) {
  const Mount mount(host_, at_);
  EXPECT_EQ(fs::read_symlink(mount / "alpha/latest"), stamps_[0]);
  host_.change(1);
  night();
  EXPECT_TRUE(within(10s, [&] { return fs::read_symlink(mount / "alpha/latest") == stamps_[1]; }));
  EXPECT_EQ(read_file(mount / "alpha/latest/etc/round"), "round 1\n");
}

TEST_F(MountTest, GoesToTheBackgroundWhenItIsThere) {
  fs::create_directories(at_);
  const RunResult result = host_.vbackup("mount", {at_});
  ASSERT_EQ(result.exit_code, 0) << shown(result);
  EXPECT_THAT(result.out, HasSubstr("2 vservers, 2 backups on " + at_));
  EXPECT_TRUE(is_mounted(at_));
  EXPECT_EQ(read_file(at_ + "/alpha/latest/etc/two"), "two\n");
  EXPECT_EQ(run({"fusermount3", "-u", at_}).exit_code, 0);
  EXPECT_TRUE(within(10s, [&] { return run({"pgrep", "-f", "mount.*" + at_}).exit_code != 0; }));
}

TEST_F(MountTest, ASingleArchiveIsShownToo) {
  const std::string file = host_.scratch("one.tar.zst");
  const RunResult made = run({vbackup_path(), "create", "--single", file, "--state", host_.scratch("s"),
                              "--tree", "alpha=" + host_.tree("alpha"), "--consistency", "live"});
  ASSERT_EQ(made.exit_code, 0) << shown(made);
  fs::create_directories(at_);
  const RunResult result = run({vbackup_path(), "mount", "--from", file, at_});
  ASSERT_EQ(result.exit_code, 0) << shown(result);
  EXPECT_EQ(difference(everything_of({{"alpha", host_.tree("alpha")}}, without_flags()),
                       everything_of({{"alpha", at_ + "/alpha/latest/."}}, without_flags())),
            "");
}

TEST_F(MountTest, APlaceThatWouldHideTheSetIsRefused) {
  for (const std::string& place : {host_.set(), host_.scratch(""), host_.set() + "/none"}) {
    const RunResult result = host_.vbackup("mount", {place});
    EXPECT_EQ(result.exit_code, 2) << place << shown(result);
  }
}

}  // namespace
}  // namespace vs::test
