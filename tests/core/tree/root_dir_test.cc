// Everything here runs twice: ctest starts these tests again with VS_NO_OPENAT2=1 (names
// "no_openat2.RootDirTest...").
#include "core/tree/root_dir.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/fs.h>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "tests/core/scratch.h"
#include "tests/support/skip.h"

namespace vs {
namespace {

using testing::HasSubstr;
using testing::Not;

bool without_openat2() {
  const char* off = std::getenv("VS_NO_OPENAT2");
  return off != nullptr && *off == '1';
}

std::string content_of(int fd) {
  char buffer[4096];
  const ssize_t got = ::pread(fd, buffer, sizeof buffer, 0);
  return got < 0 ? "" : std::string(buffer, static_cast<size_t>(got));
}

// A guest's tree, and beside it what the guest must not reach.
class RootDirTest : public testing::Test {
 protected:
  void SetUp() override {
    unit::write_file(scratch_ / "outside/secret", "of the host");
    unit::write_file(tree("usr/bin/ls"), "of the guest");
  }
  std::string tree(const std::string& path = "") const {
    return scratch_ / "tree" + (path.empty() ? "" : "/" + path);
  }
  RootDir root() const { return RootDir(tree()); }

  const unit::ScratchDir scratch_;
};

// Refused whatever is asked for: a file, a directory, a regular file.
void expect_refused(const RootDir& root, const std::string& path) {
  EXPECT_FALSE(root.open(path, O_RDONLY)) << path;
  EXPECT_FALSE(root.open(path, O_RDONLY | O_DIRECTORY)) << path;
  EXPECT_FALSE(root.open_dir(path)) << path;
  EXPECT_FALSE(root.open_regular(path)) << path;
}

TEST_F(RootDirTest, OpensWhatLiesBeneath) {
  const RootDir guest = root();
  const auto file = guest.open("usr/bin/ls", O_RDONLY);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(content_of(file->get()), "of the guest");
  EXPECT_TRUE(guest.open_dir("usr/bin"));
  EXPECT_TRUE(guest.open_dir(""));
  EXPECT_FALSE(guest.open_dir("usr/bin/ls"));
  EXPECT_EQ(guest.open("usr/none", O_RDONLY).error().code, ENOENT);
}

TEST_F(RootDirTest, DescriptorsAreClosedOnExec) {
  const auto file = root().open("usr/bin/ls", O_RDONLY);
  EXPECT_TRUE(::fcntl(file->get(), F_GETFD) & FD_CLOEXEC);
  const auto regular = root().open_regular("usr/bin/ls");
  EXPECT_TRUE(::fcntl(regular->get(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(RootDirTest, NeverFollowsASymlinkOutOfTheTree) {
  unit::make_symlink(scratch_ / "outside", tree("absolute"));
  unit::make_symlink("../outside", tree("relative"));
  unit::make_symlink("../../../outside", tree("usr/bin/deep"));
  unit::make_symlink(scratch_ / "outside/secret", tree("file"));
  unit::make_symlink("/proc/self/root", tree("magic"));
  const RootDir guest = root();
  for (const std::string path : {"absolute", "relative", "usr/bin/deep"})
    expect_refused(guest, path + "/secret");
  for (const char* path : {"file", "magic/etc/passwd", "magic/etc"}) expect_refused(guest, path);
}

// Not even inside: what a symlink points to can change between two looks.
TEST_F(RootDirTest, FollowsNoSymlinkInsideEither) {
  unit::make_symlink("usr", tree("alias"));
  unit::make_symlink("ls", tree("usr/bin/dir"));
  expect_refused(root(), "alias/bin/ls");
  expect_refused(root(), "usr/bin/dir");
}

TEST_F(RootDirTest, NeverLeavesByDotDot) {
  const RootDir guest = root();
  for (const char* path : {"..", "../outside", "../outside/secret", "usr/../../outside/secret",
                           "usr/bin/../../../outside/secret"})
    expect_refused(guest, path);
}

TEST_F(RootDirTest, AnAbsolutePathIsNotTheHosts) {
  const RootDir guest = root();
  const auto fd = guest.open("/" + std::string(scratch_ / "outside/secret"), O_RDONLY);
  EXPECT_FALSE(fd);
}

TEST_F(RootDirTest, NeverEntersAnotherMount) {
  if (!unit::is_root()) VS_SKIP(kRoot) << "mounting needs root";
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    VS_SKIP(kRoot) << "no mount namespace";
  unit::make_dirs(tree("bind"));
  unit::make_dirs(tree("other"));
  unit::write_file(tree("file"), "below");
  ASSERT_EQ(::mount((scratch_ / "outside").c_str(), tree("bind").c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(::mount("none", tree("other").c_str(), "tmpfs", 0, nullptr), 0);
  ASSERT_EQ(::mount((scratch_ / "outside/secret").c_str(), tree("file").c_str(), nullptr, MS_BIND, nullptr),
            0);
  unit::write_file(tree("other/x"), "x");
  const RootDir guest = root();
  for (const char* path : {"bind", "bind/secret", "other", "other/x", "file"}) expect_refused(guest, path);
  for (const char* path : {"bind", "other", "file"}) ::umount2(tree(path).c_str(), MNT_DETACH);
}

TEST_F(RootDirTest, OpensPathsLongerThanPathMax) {
  UniqueFd deepest;
  const std::string deep = unit::make_deep(tree(), std::string(200, 'd'), 50, deepest);
  ASSERT_GT(deep.size(), 8192u);
  const UniqueFd made(::openat(deepest.get(), "leaf", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_EQ(::write(made.get(), "deep", 4), 4);
  const auto leaf = root().open_regular(deep + "/leaf");
  ASSERT_TRUE(leaf) << leaf.error().message;
  EXPECT_EQ(content_of(leaf->get()), "deep");
  EXPECT_TRUE(root().open_dir(deep));
}

TEST_F(RootDirTest, ASymlinkDeepInALongPathIsNotFollowedEither) {
  UniqueFd deepest;
  const std::string deep = unit::make_deep(tree(), std::string(200, 'd'), 50, deepest);
  ASSERT_EQ(::symlinkat((scratch_ / "outside").c_str(), deepest.get(), "out"), 0);
  expect_refused(root(), deep + "/out/secret");
  // ... and standing where the path is cut into pieces: 19 directories of 201 bytes, then the link.
  UniqueFd middle;
  const std::string half = unit::make_deep(tree(), std::string(200, 'h'), 19, middle);
  ASSERT_EQ(::symlinkat((scratch_ / "outside").c_str(), middle.get(), std::string(100, 'l').c_str()), 0);
  expect_refused(
      root(), half + "/" + std::string(100, 'l') + "/" + std::string(255, 'x') + "/" + std::string(255, 'y'));
  expect_refused(root(), half + "/" + std::string(100, 'l') + "/secret");
}

TEST_F(RootDirTest, ANameThatIsTooLongIsAProblemNotAnAccident) {
  EXPECT_EQ(root().open(std::string(256, 'x'), O_RDONLY).error().code, ENAMETOOLONG);
  EXPECT_EQ(root().open(std::string(9000, 'x'), O_RDONLY).error().code, ENAMETOOLONG);
  EXPECT_TRUE(root().open(std::string(255, 'x'), O_RDONLY).error().code == ENOENT);
}

TEST_F(RootDirTest, TakesAnyBytesInNames) {
  for (const auto& name :
       std::vector<std::string>{"new\nline", "\x1b[2J", "\xff\xfe", " ", "-rf", std::string(255, 'n')}) {
    unit::write_file(tree(name), name);
    const auto fd = root().open_regular(name);
    ASSERT_TRUE(fd) << fd.error().message;
    EXPECT_EQ(content_of(fd->get()), name);
  }
}

TEST_F(RootDirTest, MessagesShowNamesEscaped) {
  unit::make_dirs(tree("dir\x1b[2J"));
  for (const auto& opened : {root().open_regular("dir\x1b[2J"), root().open("none\x1b[2J", O_RDONLY),
                             root().open(std::string(9000, '\x1b'), O_RDONLY)}) {
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().message, Not(HasSubstr("\x1b")));
    EXPECT_THAT(opened.error().message, HasSubstr("\\x1b"));
  }
}

TEST_F(RootDirTest, OpenRegularGivesTheStatOfWhatItOpened) {
  FileStat stat;
  const auto fd = root().open_regular("usr/bin/ls", &stat);
  ASSERT_TRUE(fd);
  EXPECT_EQ(stat.ino, unit::ino_of(tree("usr/bin/ls")));
  EXPECT_EQ(stat.size, 12u);
  EXPECT_EQ(stat_fd(fd->get(), "")->ino, stat.ino);
  EXPECT_EQ(::fcntl(fd->get(), F_GETFL) & O_ACCMODE, O_RDONLY);
}

// What stands where a regular file is expected, and a watch that tells whether it was opened (O_PATH is no
// opening).
class OpenWatch {
 public:
  explicit OpenWatch(const std::string& path) : inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    if (::inotify_add_watch(inotify_.get(), path.c_str(), IN_OPEN | IN_DONT_FOLLOW) < 0)
      throw std::runtime_error("inotify");
  }
  bool opened() const {
    char events[4096];
    return ::read(inotify_.get(), events, sizeof events) > 0;
  }

 private:
  UniqueFd inotify_;
};

TEST_F(RootDirTest, OpenRegularOpensNothingElse) {
  unit::make_fifo(tree("fifo"));
  unit::make_symlink("usr/bin/ls", tree("symlink"));
  std::vector<std::string> names = {"fifo", "usr", "symlink"};
  if (unit::is_root()) {
    ASSERT_EQ(::mknod(tree("device").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    ASSERT_EQ(::mknod(tree("tape").c_str(), S_IFCHR | 0666, makedev(9, 0)), 0);  // opening one rewinds it
    names.insert(names.end(), {"device", "tape"});
  }
  const RootDir guest = root();
  for (const auto& name : names) {
    const OpenWatch watch(tree(name));
    const auto fd = guest.open_regular(name);
    ASSERT_FALSE(fd) << name;
    EXPECT_TRUE(fd.error().code == EINVAL || fd.error().code == ELOOP) << fd.error().message;
    EXPECT_FALSE(watch.opened()) << name;
  }
  const OpenWatch watch(tree("usr/bin/ls"));
  EXPECT_TRUE(guest.open_regular("usr/bin/ls"));
  EXPECT_TRUE(watch.opened()) << "the watch sees nothing, so it proves nothing";
}

TEST_F(RootDirTest, OpenRegularTakesNoSocket) {
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const UniqueFd dir(::open(tree().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/socket", dir.get());
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(root().open_regular("socket").error().code, EINVAL);
}

// A fifo without a writer blocks an open for reading; open() must not wait for a guest.
// A guest may hold a write lease and give it up only when the kernel makes it, after 45 s.
TEST_F(RootDirTest, OpenRegularDoesNotWaitForALease) {
  std::signal(SIGIO, SIG_IGN);
  unit::write_file(tree("leased"), "x");
  const UniqueFd holder(::open(tree("leased").c_str(), O_RDONLY | O_CLOEXEC));
  if (::fcntl(holder.get(), F_SETLEASE, F_WRLCK) != 0)
    VS_SKIP(kFilesystem) << "no write lease here: " << std::strerror(errno);
  const auto before = std::chrono::steady_clock::now();
  const auto opened = root().open_regular("leased");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, EAGAIN);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(2));
}

TEST_F(RootDirTest, OpenDoesNotWaitForAFifo) {
  unit::make_fifo(tree("fifo"));
  EXPECT_TRUE(root().open("fifo", O_RDONLY));
}

// The classic race: a directory on the way becomes a symlink between check and use.
TEST_F(RootDirTest, StaysInsideWhileTheGuestSwapsDirectoriesForSymlinks) {
  unit::write_file(tree("d/secret"), "of the guest");
  unit::make_symlink(scratch_ / "outside", tree("swap"));
  std::atomic<bool> stop{false};
  std::jthread guest([&] {
    while (!stop)
      ::syscall(SYS_renameat2, AT_FDCWD, tree("d").c_str(), AT_FDCWD, tree("swap").c_str(), RENAME_EXCHANGE);
  });
  const RootDir dir = root();
  int got = 0, refused = 0;
  for (int i = 0; i < 20000; ++i) {
    const auto fd = dir.open_regular("d/secret");
    ++(fd ? got : refused);
    ASSERT_TRUE(!fd || content_of(fd->get()) == "of the guest");
  }
  stop = true;
  EXPECT_GT(got, 0);
  EXPECT_GT(refused, 0) << "the race did not happen";
}

TEST_F(RootDirTest, ReadsWithoutTouchingTheAccessTime) {
  if (!unit::is_root()) VS_SKIP(kRoot) << "only the owner or root may";
  const timespec old[2] = {{1000, 0}, {UTIME_OMIT, UTIME_OMIT}};
  ::utimensat(AT_FDCWD, tree("usr/bin/ls").c_str(), old, 0);
  const auto fd = root().open_regular("usr/bin/ls");
  EXPECT_EQ(content_of(fd->get()), "of the guest");
  EXPECT_EQ(unit::lstat_of(tree("usr/bin/ls")).st_atim.tv_sec, 1000);
}

// Who is neither owner nor root gets EPERM for O_NOATIME, and the file all the same.
TEST_F(RootDirTest, OpensOthersFilesThoughTheirAccessTimeMoves) {
  if (!unit::is_root()) VS_SKIP(kRoot) << "needs two users";
  const RootDir guest = root();
  ASSERT_EQ(::chmod(scratch_.path().c_str(), 0755), 0);
  ASSERT_EQ(::seteuid(65534), 0);
  const bool plain = guest.open("usr/bin/ls", O_RDONLY | O_NOATIME).has_value();
  const bool regular = guest.open_regular("usr/bin/ls").has_value();
  ASSERT_EQ(::seteuid(0), 0);
  EXPECT_TRUE(plain);
  EXPECT_TRUE(regular);
}

TEST_F(RootDirTest, OpenInRootResolvesSymlinksAsTheGuestSeesThem) {
  unit::make_symlink("/usr/bin", tree("bin"));
  unit::make_symlink("/../../../outside", tree("out"));
  const RootDir guest = root();
  const auto bin = guest.open_in_root("bin/ls", O_RDONLY);
  if (without_openat2()) {
    EXPECT_FALSE(bin);
  } else {
    ASSERT_TRUE(bin) << bin.error().message;
    EXPECT_EQ(content_of(bin->get()), "of the guest");
  }
  EXPECT_FALSE(guest.open_in_root("out/secret", O_RDONLY));
}

Error error_for(const std::string& path) {
  try {
    const RootDir root(path);
  } catch (const Error& error) {
    return error;
  }
  return Error("no error", Exit::done);
}

TEST_F(RootDirTest, ATreeMustBeADirectoryAndNoSymlink) {
  unit::make_symlink("tree", scratch_ / "link");
  for (const std::string& path : {scratch_ / "link", scratch_ / "none", tree("usr/bin/ls")}) {
    const Error error = error_for(path);
    EXPECT_EQ(error.code(), Exit::usage) << path;
    EXPECT_THAT(error.what(), HasSubstr(path));
  }
  EXPECT_THAT(error_for(scratch_ / "link").what(), HasSubstr("symbolic link"));
}

// The slash would make open(2) follow it.
TEST_F(RootDirTest, ATreeThatIsASymlinkIsOneWithASlashBehindItToo) {
  unit::make_symlink("tree", scratch_ / "link");
  EXPECT_EQ(error_for(scratch_ / "link/").code(), Exit::usage);
  EXPECT_EQ(error_for(scratch_ / "link//").code(), Exit::usage);
  EXPECT_EQ(error_for(tree() + "/").code(), Exit::done);
}

TEST_F(RootDirTest, ASymlinkAtTheEndIsHeldOnToButNotFollowed) {
  unit::make_symlink(scratch_ / "outside/secret", tree("link"));
  const RootDir guest = root();
  const auto held = guest.open("link", O_PATH);
  ASSERT_TRUE(held) << held.error().message;
  const auto stat = stat_fd(held->get(), "link");
  ASSERT_TRUE(stat);
  EXPECT_TRUE(S_ISLNK(stat->mode));
  EXPECT_FALSE(guest.open("link", O_RDONLY));
  EXPECT_FALSE(guest.open("link/x", O_PATH));
  EXPECT_FALSE(guest.open("link", O_PATH | O_DIRECTORY));
}

TEST_F(RootDirTest, StatDoesNotFollowSymlinks) {
  unit::make_symlink(scratch_ / "outside/secret", tree("link"));
  const RootDir guest = root();
  const auto stat = stat_at(guest.fd(), "link", "link");
  ASSERT_TRUE(stat);
  EXPECT_TRUE(S_ISLNK(stat->mode));
}

TEST(PathTest, SplitsAndJoins) {
  EXPECT_EQ(split_path("a/b/c"), std::make_pair(std::string_view("a/b"), std::string_view("c")));
  EXPECT_EQ(split_path("c"), std::make_pair(std::string_view(""), std::string_view("c")));
  EXPECT_EQ(join_path("a/b", "c"), "a/b/c");
  EXPECT_EQ(join_path("", "c"), "c");
  EXPECT_EQ(join_path("a", ""), "a");
}

}  // namespace
}  // namespace vs
