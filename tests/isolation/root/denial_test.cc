// Denials that need a stage of their own; single attempts are in the table of attempts.cc. Each test asserts
// the answer inside and shows that the same attempt gets through where only the confinement is missing.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/unique_fd.h"
#include "tests/isolation/root/attempts.h"
#include "tests/isolation/root/isolation_host.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;

class GuestDenialTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    host_ = std::make_unique<IsolationHost>();
    guest_ = host_->add("guest", "IPROOT=\"10.99.0.5\"\nIPROOTDEV=lo\n");
    const auto started = host_->vserver(guest_, {"start"});
    ASSERT_EQ(started.exit_code, 0) << shown(started);
  }
  // In the guest; `answer` is the errno, or "WORKED".
  void expect_answer(const std::vector<std::string>& words, const std::string& answer) const {
    const auto result = host_->attack(guest_, words);
    EXPECT_EQ(outcome(result), answer) << fmt::format("{}", fmt::join(words, " ")) << ": " << shown(result);
  }
  // The same program outside.
  static void expect_outside(std::vector<std::string> words, const std::string& answer) {
    words.insert(words.begin(), VS_BINARY_DIR "/isolation_attacker");
    const auto result = run(words);
    EXPECT_EQ(outcome(result), answer) << "the harness: " << shown(result);
  }
  // What the guest is answered that waits for a process that runs the file `watched` and then writes to that,
  // while `program` enters the guest with `command` until it was seen: it runs for milliseconds.
  std::string caught_and_written(const std::string& program, const std::string& watched,
                                 const std::string& command) const {
    const std::string tree = host_->tree(guest_);
    for (const char* name : {"/watching", "/caught"}) fs::remove(tree + name);
    struct stat file {};
    EXPECT_EQ(::stat(watched.c_str(), &file), 0) << watched;
    const auto watcher =
        host_->background(guest_, {"exec", "/attacker", "write-program", fmt::format("{}", file.st_ino)});
    EXPECT_TRUE(host_->appears(guest_, "/watching"));
    while (watcher->running() && !fs::exists(tree + "/caught"))
      run({program, guest_, "exec", command}, {host_->environment(), {}, std::chrono::seconds(30)});
    const auto result = watcher->wait();
    EXPECT_TRUE(fs::exists(tree + "/caught")) << "nothing was tried: " << shown(result);
    return outcome(result);
  }
  std::unique_ptr<IsolationHost> host_;
  std::string guest_;
};

// CVE-2019-5736: the guest lets a program of its own execute what enters it ("#!/proc/self/exe"). That is a
// process of the guest then, so another one can get hold of the program, and write to it when it has ended.
TEST_F(GuestDenialTest, TheProgramOfTheHostThroughProcSelfExe) {
  // Where Landlock guards abstract sockets, each command is in a domain of its own and sees no other's
  // program. Here the mount alone is to deny it.
  host_->vserver(guest_, {"stop"});
  host_->configure(guest_, "GUARD=\"!abstract-sockets\"\n");
  ASSERT_EQ(host_->vserver(guest_, {"start"}).exit_code, 0);
  // A copy that no other test runs: while a program runs it is written to by nobody (ETXTBSY).
  const std::string program = host_->path("vserver"), tree = host_->tree(guest_);
  fs::copy_file(VS_BINARY_DIR "/vserver", program);
  fs::copy_file(program, tree + "/own");
  // What it needs to run inside, where it is not linked statically.
  must_run({"sh", "-c",
            "for file in $(ldd \"$1\" 2>/dev/null | grep -o '/[^ ]*'); do cp -L --parents $file \"$2\"; done",
            "sh", program, tree});
  write_file(tree + "/evil", "#!/proc/self/exe\n");
  fs::permissions(tree + "/evil", fs::perms::all);
  EXPECT_EQ(caught_and_written(program, program, "/evil"), "EROFS") << "it runs from a read-only mount";
  EXPECT_EQ(caught_and_written(program, tree + "/own", "/own"), "WORKED")
      << "the harness: the same program, but the guest's";
}

TEST_F(GuestDenialTest, OtherAddressesEvenWhereRawSocketsWereGiven) {
  host_->vserver(guest_, {"stop"});
  host_->configure(guest_, "IPROOT=10.99.0.5\nIPROOTDEV=lo\nS_CAPS=CAP_NET_RAW\n");
  ASSERT_EQ(host_->vserver(guest_, {"start"}).exit_code, 0);
  must_run({"ip", "addr", "add", "10.98.0.1/32", "dev", "lo"});
  expect_answer({"raw-spoof", "10.99.0.5"}, "WORKED");
  expect_answer({"raw-spoof", "10.98.0.1"}, "EPERM");
  expect_outside({"raw-spoof", "10.98.0.1"}, "WORKED");
  const std::string listening = host_->tree(guest_) + "/listening";
  for (const bool own : {true, false}) {
    const std::string to = own ? "10.99.0.5" : "10.98.0.1";
    fs::remove(listening);
    auto receiving = host_->background(guest_, {"exec", "/attacker", "receive", to});
    ASSERT_TRUE(host_->appears(guest_, "/listening"));
    // Until the receiver has seen one or given up: a datagram may be sent before it listens.
    while (receiving->running()) must_run({"bash", "-c", "echo x > /dev/udp/" + to + "/9; sleep 0.1"});
    const auto received = receiving->wait();
    EXPECT_EQ(outcome(received), own ? "WORKED" : "TIMEOUT") << to << shown(received);
  }
  expect_answer({"packet"}, "EAFNOSUPPORT");
  must_run({"ip", "addr", "del", "10.98.0.1/32", "dev", "lo"});
}

TEST_F(GuestDenialTest, SystemVIpcOfTheHost) {
  const key_t key = 0x76730000 + ::getpid() % 0xffff;
  const int memory = ::shmget(key, 4096, IPC_CREAT | 0666), semaphores = ::semget(key, 1, IPC_CREAT | 0666),
            queue = ::msgget(key, IPC_CREAT | 0666);
  EXPECT_TRUE(memory >= 0 && semaphores >= 0 && queue >= 0);
  const std::string word = fmt::format("{}", key);
  for (const char* kind : {"shm", "sem", "msg"}) {
    expect_outside({"ipc", word, kind}, "WORKED");
    expect_answer({"ipc", word, kind}, "ENOENT");
  }
  ::shmctl(memory, IPC_RMID, nullptr);
  ::semctl(semaphores, 0, IPC_RMID);
  ::msgctl(queue, IPC_RMID, nullptr);
}

TEST_F(GuestDenialTest, AbstractSocketsOfTheHost) {
  const UniqueFd server(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  const std::string name = fmt::format("vserver-test-{}", ::getpid());
  name.copy(at.sun_path + 1, name.size());
  ASSERT_EQ(::bind(server.get(), reinterpret_cast<sockaddr*>(&at),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())),
            0);
  ASSERT_EQ(::listen(server.get(), 5), 0);
  expect_outside({"abstract", name}, "WORKED");
  expect_answer({"abstract", name}, "EPERM");
  // With what the first start wrote down of the kernel, and with something else in its place.
  for (const bool garbage : {false, true}) {
    if (garbage && fs::exists(host_->path("run/kernel-offsets")))
      write_file(host_->path("run/kernel-offsets"), "1 2 3");
    ASSERT_EQ(host_->vserver(guest_, {"restart"}).exit_code, 0);
    expect_answer({"abstract", name}, "EPERM");
  }
}

TEST_F(GuestDenialTest, TheSealOfASharedFile) {
  VS_NEEDS_FILESYSTEM("ext4");
  const std::string file = host_->tree(guest_) + "/sealed";
  write_file(file, "shared");
  if (run({"chattr", "+i", file}).exit_code != 0)
    VS_SKIP(kFilesystem) << "no immutable attribute on this filesystem";
  expect_answer({"unseal", "/sealed"}, "EPERM");
  EXPECT_TRUE(is_immutable(file));
  expect_outside({"unseal", file}, "WORKED");
}

TEST_F(GuestDenialTest, ASymbolicLinkWhereSomethingIsMounted) {
  host_->vserver(guest_, {"stop"});
  const std::string outside = host_->path("outside");
  fs::create_directories(outside);
  for (const char* target : {"proc", "dev", "sys", "run"}) {
    fs::remove_all(host_->tree(guest_) + "/" + target);
    fs::create_directory_symlink(outside, host_->tree(guest_) + "/" + target);
    const auto result = host_->vserver(guest_, {"start"});
    EXPECT_EQ(result.exit_code, 1) << target << shown(result);
    EXPECT_NE(result.err.find(std::string("/") + target), std::string::npos) << shown(result);
    fs::remove(host_->tree(guest_) + "/" + target);
  }
  EXPECT_TRUE(fs::is_empty(outside));
}

// CVE-2021-30465: who can write to the tree while it starts (by a directory of BIND that two guests share,
// say) exchanges directories that are mounted on for links to the host, again and again.
TEST_F(GuestDenialTest, ALinkThatComesAndGoesWhereSomethingIsMounted) {
  host_->vserver(guest_, {"stop"});
  const std::string outside = host_->path("outside"), source = host_->path("source"),
                    tree = host_->tree(guest_);
  for (const auto& dir : {outside, source, tree + "/srv/data"}) fs::create_directories(dir);
  write_file(source + "/bound", "bound");
  host_->configure(guest_, "IPROOT=\"10.99.0.5\"\nIPROOTDEV=lo\nBIND=\"" + source + ":/srv/data\"\n");
  std::atomic<bool> going = true;
  std::thread attacker([&] {
    const std::string link = tree + "/link";
    fs::create_directory_symlink(outside, link);
    for (unsigned i = 0; going; ++i) {
      const char* targets[] = {"/proc", "/dev", "/sys", "/run", "/srv", "/srv/data"};
      const std::string target = tree + targets[i % 6];
      // There and back: most of the time the directory is what it should be.
      if (::renameat2(AT_FDCWD, link.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0)
        ::renameat2(AT_FDCWD, link.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE);
      if (i % 16 == 0) ::usleep(100);  // the attacker's pace: starts must get through, too
    }
  });
  int started = 0, refused = 0;
  for (int i = 0; i < 60; ++i) {
    const auto result = host_->vserver(guest_, {"start"});
    (result.exit_code == 0 ? started : refused)++;
    std::string mounts = must_run({"cat", "/proc/self/mounts"});
    EXPECT_EQ(mounts.find(outside), std::string::npos);
    EXPECT_TRUE(fs::is_empty(outside)) << "round " << i;
    if (result.exit_code == 0) {
      EXPECT_EQ(host_->vserver(guest_, {"exec", "/attacker", "exists", outside}).exit_code, 0);
      EXPECT_EQ(host_->vserver(guest_, {"stop"}).exit_code, 0);
    }
  }
  going = false;
  attacker.join();
  EXPECT_GT(started, 0);
  EXPECT_GT(refused, 0) << "else nothing was tried";
}

}  // namespace
}  // namespace vs::test
