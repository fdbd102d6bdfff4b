// What a guest must not be able to do, tried one by one: each test asserts the denial.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>

#include "tests/support/inject.h"
#include "tests/support/skip.h"
#include "tests/support/test_cgroup.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

struct stat stat_of(const std::string& path) {
  struct stat stat {};
  EXPECT_EQ(::lstat(path.c_str(), &stat), 0) << path;
  return stat;
}

bool one_inode(const std::string& a, const std::string& b) {
  return stat_of(a).st_ino == stat_of(b).st_ino;
}

// Runs `act` in a process chrooted into the guest, as its root; what it returns is the exit code.
int inside(const FakeGuest& guest, const std::function<int()>& act) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(::chroot(guest.root().c_str()) == 0 && ::chdir("/") == 0 ? act() : 125);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// A process in the guest that goes on: does `first`, waits for go_on(), then `second`.
class Resident {
 public:
  Resident(const FakeGuest& guest, const std::function<int()>& first, const std::function<int(int)>& second) {
    EXPECT_EQ(::pipe2(ready_, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(go_, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      char byte = 0;
      const bool in = ::chroot(guest.root().c_str()) == 0 && ::chdir("/") == 0;
      const int result = in ? first() : -1;
      if (::write(ready_[1], "x", 1) != 1 || ::read(go_[0], &byte, 1) != 1) ::_exit(124);
      ::_exit(second(result));
    }
    char byte = 0;
    EXPECT_EQ(::read(ready_[0], &byte, 1), 1);
  }
  int go_on() {
    EXPECT_EQ(::write(go_[1], "x", 1), 1);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    for (const int fd : {ready_[0], ready_[1], go_[0], go_[1]}) ::close(fd);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_;
  int ready_[2], go_[2];
};

HostOptions three_guests(const std::string& filesystem) {
  HostOptions options;
  options.filesystem = filesystem;
  options.packages = {shared_package("pkg", "usr/share/pkg", 6)};
  return options;
}
constexpr const char* kShared = "usr/share/pkg/pkg-2";  // 10,000 bytes

#define MUST_UNIFY(host)                                                                     \
  do {                                                                                       \
    const auto ran = (host).vunify("run");                                                   \
    ASSERT_EQ(ran.exit_code, 0) << shown(ran);                                               \
    ASSERT_TRUE(one_inode((host).guest("alpha") / kShared, (host).guest("beta") / kShared)); \
  } while (false)

// What the seal forbids, each on the file at this path of the guest. All of them leave other files alone.
std::vector<std::pair<const char*, std::function<long()>>> changes_of(const std::string& file) {
  const auto over = [file] {
    const int fd = ::open("/over", O_CREAT | O_WRONLY, 0600);
    return fd < 0 || ::close(fd) != 0 ? 1000 : ::rename("/over", file.c_str());
  };
  return {
      {"open for writing", [file] { return ::open(file.c_str(), O_WRONLY); }},
      {"open for appending", [file] { return ::open(file.c_str(), O_WRONLY | O_APPEND); }},
      {"truncate", [file] { return ::truncate(file.c_str(), 0); }},
      {"chmod", [file] { return ::chmod(file.c_str(), 04777); }},
      {"chown", [file] { return ::chown(file.c_str(), 1, 1); }},
      {"utimes", [file] { return ::utimensat(AT_FDCWD, file.c_str(), nullptr, 0); }},
      {"setxattr", [file] { return ::setxattr(file.c_str(), "user.x", "y", 1, 0); }},
      {"unlink", [file] { return ::unlink(file.c_str()); }},
      {"rename", [file] { return ::rename(file.c_str(), "/moved"); }},
      {"rename over it", over},
      {"link", [file] { return ::link(file.c_str(), "/linked"); }},
  };
}

TEST(DenialTest, ASharedFileCannotBeChangedFromInsideAGuest) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(three_guests("ext4"));
  MUST_UNIFY(host);
  const auto answer = [&](const std::function<long()>& act) {
    return inside(host.guest("alpha"), [&] { return act() >= 0 ? 0 : errno; });
  };
  // The harness: on a file that is not sealed each of them works.
  for (const auto& [what, act] : changes_of("/own")) {
    write_file(host.guest("alpha") / "own", "not shared");
    EXPECT_EQ(answer(act), 0) << what;
    for (const char* left : {"own", "moved", "linked"}) ::unlink((host.guest("alpha") / left).c_str());
  }
  const auto before = host.snapshots();
  for (const auto& [what, act] : changes_of(std::string("/") + kShared))
    EXPECT_EQ(answer(act), EPERM) << what;
  ASSERT_EQ(::unlink((host.guest("alpha") / "over").c_str()), 0) << "left by the denial of rename";
  EXPECT_EQ(host.changes_since(before), "");
}

TEST(DenialTest, UnderReflinkWhatOneGuestWritesNoOtherReads) {
  for (const char* type : {"xfs", "btrfs"}) {
    VS_NEEDS_FILESYSTEM(type);
    TestHost host(three_guests(type));
    const auto before = host.snapshots();
    const auto ran = host.vunify("run");
    ASSERT_EQ(ran.exit_code, 0) << shown(ran);
    EXPECT_EQ(host.changes_since(before, Links::exact), "");  // inodes stay private
    write_file(host.guest("alpha") / kShared, "changed");
    EXPECT_EQ(difference_text(before[1], snapshot_of(host.guest("beta").root()), Links::exact), "");
    EXPECT_EQ(difference_text(before[2], snapshot_of(host.guest("gamma").root()), Links::exact), "");
    EXPECT_EQ(read_file(host.guest("alpha") / kShared), "changed");
  }
}

TEST(DenialTest, ADescriptorOpenForWritingBeforeTheRunKeepsItsFile) {
  for (const char* type : {"ext4", "xfs", "btrfs"}) {
    VS_NEEDS_FILESYSTEM(type);
    TestHost host(three_guests(type));
    const std::string file = std::string("/") + kShared;
    Resident writer(
        host.guest("alpha"), [&] { return ::open(file.c_str(), O_RDWR); },
        [](int fd) { return ::pwrite(fd, "late", 4, 0) == 4 ? 0 : errno; });
    const auto ran = host.vunify("run", {"--json"});
    EXPECT_THAT(ran.exit_code, AnyOf(0, 3)) << shown(ran);
    EXPECT_EQ(writer.go_on(), 0) << type;
    EXPECT_EQ(read_file(host.guest("alpha") / kShared).substr(0, 4), "late") << type;
    EXPECT_EQ(read_file(host.guest("beta") / kShared).substr(0, 4), "pack") << type;
    EXPECT_EQ(read_file(host.guest("gamma") / kShared).substr(0, 4), "pack") << type;
  }
}

TEST(DenialTest, AMappingWhoseDescriptorIsClosedKeepsItsFile) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(three_guests("ext4"));
  const std::string file = std::string("/") + kShared;
  static char* map = nullptr;
  Resident writer(
      host.guest("alpha"),
      [&] {
        const int fd = ::open(file.c_str(), O_RDWR);
        map = static_cast<char*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        return ::close(fd);
      },
      [](int) { return std::memcpy(map, "late", 4), 0; });
  EXPECT_THAT(host.vunify("run").exit_code, AnyOf(0, 3));
  EXPECT_EQ(writer.go_on(), 0);
  EXPECT_EQ(read_file(host.guest("alpha") / kShared).substr(0, 4), "late");
  EXPECT_EQ(read_file(host.guest("beta") / kShared).substr(0, 4), "pack");
}

TEST(DenialTest, NoGuestEverHeldADescriptorOfAMaster) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(three_guests("ext4"));
  // Reading descriptors do not keep a file from being unified where the guest can stand still, but fchmod and
  // fsetxattr work through them.
  if (cgroup2_mount().empty()) VS_SKIP(kKernel) << "no cgroup hierarchy of version 2";
  const TestCgroup cgroup("denial");
  const int procs = cgroup.open_procs();
  const std::string file = std::string("/") + kShared;
  Resident keeper(
      host.guest("alpha"),
      [&] {
        if (::write(procs, "0", 1) != 1) return -1;
        return ::open(file.c_str(), O_RDONLY);
      },
      [](int fd) { return ::fchmod(fd, 04777) == 0 ? ::fsetxattr(fd, "user.x", "y", 1, 0) : errno; });
  MUST_UNIFY(host);
  const auto before = host.snapshots();
  EXPECT_EQ(keeper.go_on(), 0);  // of its own old inode, which nobody sees any more
  EXPECT_EQ(host.changes_since(before), "");
}

// Processes in a guest that go through its six shared files without rest and try all that the seal forbids.
class WindowAttack {
 public:
  enum Try { kMode, kOwner, kTime, kAttribute, kOpen, kOpenWaiting, kTruncate, kMap, kTries };

  WindowAttack(const FakeGuest& guest, unsigned pause_us) {
    done_ = static_cast<std::atomic<uint64_t>*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    for (int what = 0; what < kTries; ++what) {
      attackers_.push_back(::fork());
      if (attackers_.back() != 0) continue;
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::chroot(guest.root().c_str()) != 0) ::_exit(1);
      for (unsigned turn = 1;; ++turn) {
        if (succeeds(static_cast<Try>(what), fmt::format("/usr/share/pkg/pkg-{}", turn % 6), turn))
          ++done_[what];
        if (pause_us > 0) ::usleep(pause_us);
      }
    }
  }
  ~WindowAttack() {
    stop();
    ::munmap(done_, 4096);
  }
  void stop() {
    for (const pid_t pid : attackers_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    attackers_.clear();
  }
  uint64_t class_changes() const { return done_[kMode] + done_[kOwner] + done_[kTime] + done_[kAttribute]; }
  uint64_t writes() const { return done_[kOpen] + done_[kOpenWaiting] + done_[kTruncate] + done_[kMap]; }

 private:
  static bool succeeds(Try what, const std::string& path, unsigned turn) {
    const char* file = path.c_str();
    const timespec times[2] = {{0, UTIME_OMIT}, {static_cast<time_t>(turn), 0}};
    if (what == kMode) return ::chmod(file, turn % 2 ? 0600 : 04755) == 0;
    if (what == kOwner) return ::chown(file, turn % 7, 0) == 0;
    if (what == kTime) return ::utimensat(AT_FDCWD, file, times, 0) == 0;
    if (what == kAttribute) return ::setxattr(file, "user.evil", &turn, sizeof turn, 0) == 0;
    if (what == kTruncate) return ::truncate(file, 1) == 0;
    const int fd = ::open(file, O_RDWR | (what == kOpenWaiting ? 0 : O_NONBLOCK));
    if (fd < 0) return false;
    bool done = what != kMap && ::pwrite(fd, "evil", 4, 0) == 4;
    if (what == kMap) {
      // SIGBUS, the answer to a store into what has been sealed, ends this attacker.
      void* map = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      if (map != MAP_FAILED) std::memcpy(map, "evil", 4), ::munmap(map, 4096), done = true;
    }
    ::close(fd);
    return done;
  }

  std::atomic<uint64_t>* done_;
  std::vector<pid_t> attackers_;
};

// A master must be without its seal while it gains a name. Here the window is held open for a long time.
TEST(DenialTest, WhatAGuestDoesInALongUnsealedWindowIsUndoneAndReachesNobody) {
  VS_NEEDS_FILESYSTEM("ext4");
  VS_STOP_IF(injection_impossible());
  TestHost host(three_guests("ext4"));
  const Command command = host.command("run", {"-j1", "--stats"});
  ASSERT_EQ(host.vunify("run", {"alpha", "beta"}).exit_code, 0);
  const auto calls = call_ordinals(command, "ioctl", {""});
  ASSERT_FALSE(calls.empty());
  host.reset();
  ASSERT_EQ(host.vunify("run", {"alpha", "beta"}).exit_code, 0);
  const auto before = host.snapshots();
  WindowAttack attack(host.guest("alpha"), 200);
  // As many as a run needs that nobody disturbs: what it does to mend the damage is as fast as ever.
  const auto ran =
      run(with_injection(command, "ioctl", "delay_exit=30000", fmt::format("1..{}", calls.back())));
  attack.stop();
  EXPECT_THAT(ran.exit_code, AnyOf(0, 3)) << shown(ran);
  EXPECT_GT(attack.class_changes(), 0U) << "the window was never open: " << shown(ran);
  EXPECT_EQ(attack.writes(), 0U);
  EXPECT_EQ(host.changes_since(before), "") << shown(ran);
  EXPECT_THAT(host.store_defects(), testing::IsEmpty());
  const auto checked = host.vunify("check");
  EXPECT_EQ(checked.exit_code, 0) << shown(checked);
}

// And here it is as long as it is, and the guest gives it all it has.
TEST(DenialTest, WhatAGuestDoesInTheUnsealedWindowIsUndoneAndReachesNobody) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(three_guests("ext4"));
  uint64_t changes = 0;
  for (int round = 0; round < 10; ++round) {
    host.reset();
    ASSERT_EQ(host.vunify("run", {"alpha", "beta"}).exit_code, 0);
    const auto before = host.snapshots();
    WindowAttack attack(host.guest("alpha"), 0);
    const auto ran = host.vunify("run", {"--stats"});
    attack.stop();
    changes += attack.class_changes();
    EXPECT_THAT(ran.exit_code, AnyOf(0, 3)) << shown(ran);
    EXPECT_EQ(attack.writes(), 0U);
    EXPECT_EQ(host.changes_since(before), "") << shown(ran);
    const auto checked = host.vunify("check");
    EXPECT_EQ(checked.exit_code, 0) << shown(checked);
  }
  RecordProperty("changes", static_cast<int>(changes));
}

// The oracle: whoever guesses another's private bytes must not learn it from inode numbers or link counts.
TEST(DenialTest, PrivateBytesGuessedByAnotherGuestStayApart) {
  for (const char* type : {"ext4", "xfs"}) {
    VS_NEEDS_FILESYSTEM(type);
    TestHost host(three_guests(type));
    // gamma changed a package's file, has a file of its own beside, and passwords; alpha guesses them all and
    // makes its records agree.
    const FakeFile local{kShared, tagged_bytes("what only gamma knows", 9'000)};
    const FakeFile document{"usr/share/pkg/secret", tagged_bytes("nor does anybody know this", 9'000)};
    const FakeFile shadow{"etc/shadow", read_file(host.guest("gamma") / "etc/shadow"), 0640};
    for (const char* guest : {"alpha", "gamma"})
      for (const auto& file : {local, document, shadow}) write_fake_file(host.guest(guest).root(), file);
    auto forged = host.guest("alpha").packages();
    forged[0].files[2].content = local.content;
    forged[0].files.insert(forged[0].files.end(), {document, shadow});
    for (const auto& [path, content] : dpkg_records(forged))
      write_file(host.guest("alpha") / ("var/lib/dpkg/" + path), content);
    const auto blocks = stat_of(host.guest("gamma") / kShared).st_blocks;

    const auto ran = host.vunify("run");
    ASSERT_EQ(ran.exit_code, 0) << shown(ran);
    for (const char* path : {kShared, "usr/share/pkg/secret", "etc/shadow"}) {
      EXPECT_EQ(stat_of(host.guest("gamma") / path).st_nlink, 1U) << path;
      EXPECT_EQ(stat_of(host.guest("alpha") / path).st_nlink, 1U) << path;
      EXPECT_FALSE(is_immutable(host.guest("gamma") / path)) << path;
      EXPECT_FALSE(is_immutable(host.guest("alpha") / path)) << path;
    }
    EXPECT_EQ(stat_of(host.guest("gamma") / kShared).st_blocks, blocks);
    if (host.seals()) {
      EXPECT_TRUE(one_inode(host.guest("alpha") / "usr/share/pkg/pkg-0",
                            host.guest("gamma") / "usr/share/pkg/pkg-0"));
      continue;
    }
    // On reflink filesystems the same question is asked with FIEMAP: no extent of it is shared.
    ::sync();
    const auto extents = run({"filefrag", "-v", host.guest("gamma") / kShared});
    ASSERT_EQ(extents.exit_code, 0) << shown(extents);
    EXPECT_THAT(extents.out, Not(HasSubstr("shared")));
    const auto public_extents = run({"filefrag", "-v", host.guest("gamma") / "usr/share/pkg/pkg-4"});
    EXPECT_THAT(public_extents.out, HasSubstr("shared"));
  }
}

TEST(DenialTest, SetIdConfigurationLockLikeAndEmptyFilesAreNeverShared) {
  VS_NEEDS_FILESYSTEM("ext4");
  HostOptions options = three_guests("ext4");
  auto& files = options.packages[0].files;
  files.push_back({"usr/bin/su", tagged_bytes("su", 5000), 04755});
  files.push_back({"usr/bin/wall", tagged_bytes("wall", 5000), 02755});
  files.push_back({"usr/bin/sticky", tagged_bytes("sticky", 5000), 01755});
  files.push_back({"usr/bin/ping", tagged_bytes("ping", 5000), 0755});
  files.push_back({"usr/lib/pkg/pkg.lock", tagged_bytes("lock", 5000)});
  files.push_back({"usr/lib/pkg/empty", ""});
  files.push_back({"etc/pkg.conf", tagged_bytes("conf", 5000), 0644, 1'600'000'000'000'000'000, true});
  files.push_back({"usr/share/pkg/odd.conf", tagged_bytes("conffile outside etc", 5000), 0644,
                   1'600'000'000'000'000'000, true});
  options.prepare = [](const FakeGuest& guest) {
    // cap_net_raw+ep, as setcap writes it.
    constexpr unsigned char kCap[20] = {1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    EXPECT_EQ(::setxattr((guest / "usr/bin/ping").c_str(), "security.capability", kCap, sizeof kCap, 0), 0);
    set_mtime(guest / "usr/bin/ping", 1'600'000'000'000'000'000);
  };
  TestHost host(options);
  for (const char* scope : {"packages", "all"}) {
    const auto ran = host.vunify("run", {"--scope", scope});
    ASSERT_EQ(ran.exit_code, 0) << shown(ran);
    for (const char* path :
         {"usr/bin/su", "usr/bin/wall", "usr/bin/sticky", "usr/bin/ping", "usr/lib/pkg/pkg.lock",
          "usr/lib/pkg/empty", "etc/pkg.conf", "usr/share/pkg/odd.conf"}) {
      EXPECT_EQ(stat_of(host.guest("alpha") / path).st_nlink, 1U) << path << " in scope " << scope;
      EXPECT_FALSE(is_immutable(host.guest("alpha") / path)) << path << " in scope " << scope;
    }
    EXPECT_TRUE(one_inode(host.guest("alpha") / kShared, host.guest("beta") / kShared));
  }
}

TEST(DenialTest, FilesOfDifferentClassAreNotShared) {
  VS_NEEDS_FILESYSTEM("ext4");
  HostOptions options = three_guests("ext4");
  options.guests = {"alpha", "beta"};
  TestHost host(options);
  const auto in_beta = [&](int i) { return host.guest("beta") / fmt::format("usr/share/pkg/pkg-{}", i); };
  ::chmod(in_beta(0).c_str(), 0600);
  ASSERT_EQ(::chown(in_beta(1).c_str(), 7, 0), 0);
  set_mtime(in_beta(2), 1'600'000'000'123'456'788);
  ::setxattr(in_beta(3).c_str(), "user.mark", "1", 1, 0);
  const auto before = host.snapshots();
  ASSERT_EQ(host.vunify("run").exit_code, 0);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(stat_of(in_beta(i)).st_nlink, 1U) << i;
  EXPECT_GT(stat_of(in_beta(4)).st_nlink, 1U);
  EXPECT_EQ(host.changes_since(before), "");
}

TEST(DenialTest, TheStoreIsClosedToEveryoneButRoot) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(three_guests("ext4"));
  MUST_UNIFY(host);
  EXPECT_EQ(stat_of(host.store()).st_mode & 07777, 0700U);
  EXPECT_EQ(stat_of(host.store()).st_uid, 0U);
  EXPECT_EQ(stat_of(host.state()).st_mode & 077, 0U);
  EXPECT_THAT(run({"ls", host.store() + "/masters"}, {.env = {}, .uid = 65534}).err,
              HasSubstr("Permission denied"));
}

TEST(DenialTest, NamesOfGuestsReachNoTerminalUnescaped) {
  VS_NEEDS_FILESYSTEM("ext4");
  HostOptions options = three_guests("ext4");
  options.scope = "all";
  options.prepare = [](const FakeGuest& guest) {
    for (const char* name : {"\x1b[31mred\x1b]0;title\x07", "line\nbreak",
                             "\xc2\x9b"
                             "1m",
                             "\xe2\x80\xae"
                             "fdp.exe",
                             "\xff\xfe"}) {
      write_fake_file(guest.root(), {std::string("usr/share/odd/") + name, tagged_bytes("odd", 5000)});
      ::mkfifo((guest / (std::string("usr/share/odd/") + name + ".fifo")).c_str(), 0644);
    }
    make_deep_tree(guest.root(), "opt/deep", tagged_bytes("deep", 5000));
  };
  TestHost host(options);
  const std::string odd = "usr/share/odd/line\nbreak";
  for (const auto& [verb, more] : std::vector<std::pair<std::string, Command>>{
           {"scan", {"-vv"}},
           {"plan", {"-vv"}},
           {"run", {"-vv"}},
           {"explain", {"alpha", odd}},
           {"explain", {"alpha", "usr/share/odd/\x1b[31mred\x1b]0;title\x07"}},
           {"report", {}},
           {"report", {"--json"}},
           {"check", {"-vv"}},
           {"release", {"-vv", "alpha", odd}},
           {"status", {}}}) {
    const auto result = host.vunify(verb, more);
    EXPECT_EQ(result.exit_code, 0) << verb << ": " << shown(result);
    for (const char* hostile : {"\x1b", "\x07", "\xc2\x9b", "\xe2\x80\xae", "line\nbreak"})
      EXPECT_EQ((result.out + result.err).find(hostile), std::string::npos)
          << verb << " lets through " << testing::PrintToString(hostile);
  }
  ASSERT_EQ(host.vunify("run").exit_code, 0);
  EXPECT_TRUE(one_inode(host.guest("alpha") / odd, host.guest("beta") / odd));
}

TEST(DenialTest, HardLinkedNamesOfAGuestMoveTogether) {
  VS_NEEDS_FILESYSTEM("ext4");
  HostOptions options = three_guests("ext4");
  auto& files = options.packages[0].files;
  files.push_back({"usr/bin/perl", tagged_bytes("perl", 9000), 0755});
  files.push_back({"usr/bin/perl5.36", tagged_bytes("perl", 9000), 0755});
  options.prepare = [](const FakeGuest& guest) {
    fs::remove(guest / "usr/bin/perl5.36");
    fs::create_hard_link(guest / "usr/bin/perl", guest / "usr/bin/perl5.36");
    // In gamma one more name stands where nothing is shared: then none of them is.
    if (guest.name() == "gamma") fs::create_hard_link(guest / "usr/bin/perl", guest / "home/user/perl");
  };
  TestHost host(options);
  const auto before = host.snapshots();
  MUST_UNIFY(host);
  EXPECT_EQ(host.changes_since(before), "");
  EXPECT_TRUE(one_inode(host.guest("alpha") / "usr/bin/perl", host.guest("beta") / "usr/bin/perl"));
  EXPECT_FALSE(one_inode(host.guest("alpha") / "usr/bin/perl", host.guest("gamma") / "usr/bin/perl"));
  ASSERT_EQ(host.vunify("release", {"alpha"}).exit_code, 0);
  EXPECT_EQ(difference_text(before[0], snapshot_of(host.guest("alpha").root()), Links::exact), "");
  ASSERT_EQ(host.vunify("run").exit_code, 0);
  ASSERT_EQ(host.vunify("undo", {"last"}).exit_code, 0);
  EXPECT_EQ(difference_text(before[0], snapshot_of(host.guest("alpha").root()), Links::exact), "");
}

TEST(DenialTest, ReleasedFilesCanBeWrittenAgainAndOthersDoNotSeeIt) {
  VS_NEEDS_FILESYSTEM("ext4");
  TestHost host(three_guests("ext4"));
  const auto before = host.snapshots();
  MUST_UNIFY(host);
  for (const Command& what :
       {Command{"alpha", kShared}, Command{"alpha", "--package", "pkg"}, Command{"alpha"}}) {
    const auto released = host.vunify("release", what);
    ASSERT_EQ(released.exit_code, 0) << shown(released);
    EXPECT_EQ(difference_text(before[0], snapshot_of(host.guest("alpha").root()), Links::may_merge), "");
    EXPECT_EQ(inside(host.guest("alpha"),
                     [&] { return ::open((std::string("/") + kShared).c_str(), O_RDWR) >= 0 ? 0 : errno; }),
              0);
    const std::string old = read_file(host.guest("alpha") / kShared);
    write_file(host.guest("alpha") / kShared, "mine");
    EXPECT_EQ(difference_text(before[1], snapshot_of(host.guest("beta").root()), Links::may_merge), "");
    write_file(host.guest("alpha") / kShared, old);
    set_mtime(host.guest("alpha") / kShared, before[0].at(kShared).mtime_ns);
    MUST_UNIFY(host);
  }
}

}  // namespace
}  // namespace vs::test
