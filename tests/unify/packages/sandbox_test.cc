// The tests of a security promise assert the denial: each tries what it must not be able to do.
#include "unify/packages/sandbox.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <sstream>
#include <thread>

#include "tests/support/skip.h"
#include "tests/support/within.h"
#include "tests/unify/packages/guest_tree.h"

namespace vs::unify {
namespace {

using testing::HasSubstr;

void say(int out, const std::string& text) {
  static_cast<void>(::write(out, text.data(), text.size()));
}
void say_errno(int out, long result) {
  say(out, result >= 0 ? "worked" : ::strerrorname_np(errno));
}

class SandboxTest : public testing::Test {
 protected:
  SandboxOutcome run(const std::function<void(const std::string&, int)>& work) {
    return run_in_sandbox(dir_.path(), limits_, work);
  }
  // What `call` gave inside: "worked" or the name of errno.
  std::string attempt(const std::function<long()>& call) {
    const SandboxOutcome outcome = run([&](const std::string&, int out) { say_errno(out, call()); });
    return outcome.finished ? outcome.output : outcome.how;
  }
  void expect_death(const std::function<long()>& call) {
    EXPECT_EQ(attempt(call), "killed by signal 31 (Bad system call)");
  }
  static bool root() { return ::geteuid() == 0; }

  TempDir dir_;
  SandboxLimits limits_;
};

TEST_F(SandboxTest, GivesBackWhatTheWorkWrote) {
  const SandboxOutcome outcome =
      run([](const std::string&, int out) { say(out, std::string(1 << 20, 'x')); });
  EXPECT_TRUE(outcome.finished);
  EXPECT_EQ(outcome.output, std::string(1 << 20, 'x'));
}

TEST_F(SandboxTest, ReadsTheDirectoryItWasGiven) {
  std::ofstream(dir_.path() + "/data") << "content";
  ::chmod(dir_.path().c_str(), 0755);
  const SandboxOutcome outcome = run([](const std::string& directory, int out) {
    char text[20] = {};
    const int fd = ::open((directory + "/data").c_str(), O_RDONLY);
    say(out, ::read(fd, text, sizeof text) == 7 ? text : "cannot read");
  });
  EXPECT_EQ(outcome.output, "content");
}

TEST_F(SandboxTest, SeesNothingOutsideTheDirectory) {
  if (!root()) VS_SKIP(kRoot) << "chroot needs root";
  ::chmod(dir_.path().c_str(), 0755);
  for (const char* path : {"/etc/passwd", "/proc/self/status", "/dev/null", "/../../etc/passwd", "/tmp"})
    EXPECT_EQ(attempt([&] { return ::open(path, O_RDONLY); }), "ENOENT") << path;
  EXPECT_EQ(
      attempt([] { return ::open("..", O_RDONLY | O_DIRECTORY) >= 0 ? ::open("etc/passwd", O_RDONLY) : -1; }),
      "ENOENT");
}

TEST_F(SandboxTest, CannotWriteIntoTheDirectory) {
  if (!root()) VS_SKIP(kRoot) << "the user stays who he is";
  ::chmod(dir_.path().c_str(), 0755);
  EXPECT_EQ(attempt([] { return ::open("/new", O_RDWR | O_CREAT, 0600); }), "EACCES");
  EXPECT_EQ(attempt([] { return ::mkdir("/new", 0700); }), "EPERM");
  EXPECT_EQ(attempt([] { return ::symlink("a", "/new"); }), "EPERM");
  EXPECT_EQ(attempt([] { return ::unlink("/data"); }), "EPERM");
}

TEST_F(SandboxTest, DiesOfACallThatOnlyAnIntruderMakes) {
  char program[] = "/bin/true";
  char* const arguments[] = {program, nullptr};
  expect_death([&] { return ::execve(program, arguments, nullptr); });
  expect_death([] { return ::socket(AF_INET, SOCK_STREAM, 0); });
  expect_death([] { return ::socket(AF_UNIX, SOCK_STREAM, 0); });
  expect_death([] { return ::kill(::getppid(), SIGTERM); });
  expect_death([] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); });
  expect_death([] { return ::mount("a", "/", "tmpfs", 0, nullptr); });
  expect_death([] { return ::syscall(SYS_setuid, 0); });
  expect_death([] { return ::syscall(SYS_setresuid, 0, 0, 0); });
  expect_death([] { return ::chroot("/"); });
  expect_death([] { return ::unshare(CLONE_NEWUSER); });
  expect_death([] { return ::syscall(SYS_bpf, 0, nullptr, 0); });
  expect_death([] { return ::syscall(SYS_io_uring_setup, 1, nullptr); });
  expect_death([] { return ::syscall(SYS_pidfd_open, ::getppid(), 0); });
  expect_death([] { return ::syscall(SYS_process_vm_readv, ::getppid(), nullptr, 0, nullptr, 0, 0); });
  expect_death([] { return ::mknod("/x", S_IFCHR | 0666, 0x501); });
}

TEST_F(SandboxTest, RefusesProcessesAndWhateverIsNotAllowed) {
  EXPECT_EQ(attempt([] { return ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr); }),
            "EPERM");
  EXPECT_EQ(attempt([] { return ::syscall(SYS_clone3, nullptr, 0); }), "EPERM");
  EXPECT_EQ(attempt([] { return ::syscall(SYS_vfork); }), "EPERM");
  EXPECT_EQ(attempt([] { return ::chmod("/", 0777); }), "EPERM");
  EXPECT_EQ(attempt([] { return ::chown("/", 0, 0); }), "EPERM");
  EXPECT_EQ(attempt([] { return ::link("/a", "/b"); }), "EPERM");
  EXPECT_EQ(attempt([] { return ::rename("/a", "/b"); }), "EPERM");
  EXPECT_EQ(attempt([] { return ::syscall(SYS_memfd_create, "x", 0); }), "EPERM");
  EXPECT_EQ(attempt([] { return ::syscall(SYS_ioctl, 3, 0x5401, nullptr); }), "EPERM");
  EXPECT_EQ(attempt([] { return ::syscall(SYS_prctl, 4, 1, 0, 0, 0); }), "EPERM");
  EXPECT_EQ(attempt([] {
              const rlimit limit{RLIM_INFINITY, RLIM_INFINITY};
              return ::setrlimit(RLIMIT_CPU, &limit);
            }),
            "EPERM");
}

TEST_F(SandboxTest, HasNoMemoryThatCanBeExecuted) {
  const auto map = [](int protection) {
    void* p = ::mmap(nullptr, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? -1 : 0;
  };
  EXPECT_EQ(attempt([&] { return map(PROT_READ | PROT_WRITE); }), "worked");
  EXPECT_EQ(attempt([&] { return map(PROT_READ | PROT_WRITE | PROT_EXEC); }), "EPERM");
  EXPECT_EQ(attempt([] {
              void* p = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
              return ::mprotect(p, 4096, PROT_READ | PROT_EXEC);
            }),
            "EPERM");
}

TEST_F(SandboxTest, HasNoMemoryInCommonWithTheParent) {
  std::ofstream(dir_.path() + "/index") << std::string(4096, 'i');
  const UniqueFd fd(::open((dir_.path() + "/index").c_str(), O_RDWR));
  void* file = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd.get(), 0);
  void* anonymous = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(file, MAP_FAILED);
  ASSERT_NE(anonymous, MAP_FAILED);
  EXPECT_EQ(attempt([&] { return ::mprotect(file, 4096, PROT_READ | PROT_WRITE); }), "ENOMEM");
  EXPECT_EQ(attempt([&] { return ::mprotect(anonymous, 4096, PROT_READ | PROT_WRITE); }), "ENOMEM");
  ::munmap(file, 4096);
  ::munmap(anonymous, 4096);
}

TEST_F(SandboxTest, HasNoDescriptorButThePipe) {
  const int leaked = ::open("/etc/passwd", O_RDONLY);  // without O_CLOEXEC, as libraries do
  const SandboxOutcome outcome = run([](const std::string&, int out) {
    std::string found;
    for (int fd = 0; fd < 1000; ++fd)
      if (::fcntl(fd, F_GETFD) >= 0) found += std::to_string(fd) + " ";
    char c;
    say(out, found + (::read(0, &c, 1) == 0 ? "stdin is empty" : "stdin reads"));
  });
  ::close(leaked);
  EXPECT_EQ(outcome.output, "0 1 2 3 stdin is empty");
}

TEST_F(SandboxTest, WorksWhereTheParentHasNoStandardDescriptors) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (const int fd : {0, 1, 2}) ::close(fd);
    const SandboxOutcome outcome = run([](const std::string&, int out) { say(out, "good"); });
    ::_exit(outcome.finished && outcome.output == "good" ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

std::string status_of(int pid) {
  std::stringstream text;
  text << std::ifstream(fmt::format("/proc/{}/status", pid)).rdbuf();
  return text.str();
}

// The fields of /proc/PID/status of this process's sandboxed child while it runs.
std::string status_of_child() {
  std::string found = "no child seen";
  test::within(std::chrono::seconds(10), [&] {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream children(task.path() / "children");
      int pid = 0;
      while (children >> pid) {
        if (status_of(pid).find("Seccomp:\t2") == std::string::npos) continue;
        // Once more: the lines above that one may have been made before the child became what they show.
        found = status_of(pid);
        return true;
      }
    }
    return false;
  });
  return found;
}

TEST_F(SandboxTest, IsNobodyWithoutGroupsOrCapabilities) {
  if (!root()) VS_SKIP(kRoot) << "changing ids needs root";
  std::string status;
  ::chmod(dir_.path().c_str(), 0755);
  std::jthread watcher([&] {
    status = status_of_child();
    std::ofstream(dir_.path() + "/seen");
  });
  run([](const std::string& directory, int) {
    while (::access((directory + "/seen").c_str(), F_OK) != 0) ::usleep(10'000);
  });
  watcher.join();
  EXPECT_THAT(status, HasSubstr("Uid:\t65534\t65534\t65534\t65534"));
  EXPECT_THAT(status, HasSubstr("Gid:\t65534\t65534\t65534\t65534"));
  EXPECT_THAT(status, HasSubstr("Groups:\t \n"));
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
    EXPECT_THAT(status, HasSubstr(fmt::format("{}:\t0000000000000000\n", set)));
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
}

TEST_F(SandboxTest, StopsWorkThatTakesTooLong) {
  limits_.seconds = 3;
  const auto start = std::chrono::steady_clock::now();
  const SandboxOutcome asleep = run([](const std::string&, int out) {
    say(out, "before");
    for (;;) ::usleep(100'000);
  });
  EXPECT_FALSE(asleep.finished);
  EXPECT_EQ(asleep.output, "before");
  EXPECT_EQ(asleep.how, "stopped after 3 s");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST_F(SandboxTest, StopsAChildThatClosesThePipeAndLivesOn) {
  const SandboxOutcome outcome = run([](const std::string&, int out) {
    ::close(out);
    for (;;) ::usleep(100'000);
  });
  EXPECT_FALSE(outcome.finished);
  EXPECT_EQ(outcome.how, "killed by signal 9 (Killed)");
}

TEST_F(SandboxTest, StopsAnEndlessAnswer) {
  limits_.output = 1 << 20;
  const SandboxOutcome outcome = run([](const std::string&, int out) {
    for (;;) say(out, std::string(65536, 'x'));
  });
  EXPECT_FALSE(outcome.finished);
  EXPECT_EQ(outcome.how, "stopped after 1048576 bytes of answer");
}

TEST_F(SandboxTest, IgnoresSignalsTheParentHandles) {
  std::signal(SIGUSR1, [](int) {});
  EXPECT_EQ(attempt([] {
              struct sigaction action;
              ::sigaction(SIGUSR1, nullptr, &action);
              return action.sa_handler == SIG_DFL ? 0 : -1;
            }),
            "worked");
  std::signal(SIGUSR1, SIG_DFL);
}

TEST_F(SandboxTest, TellsHowItsWorkDied) {
  EXPECT_EQ(run([](const std::string&, int) { throw std::runtime_error("x"); }).how, "failed to do its work");
  EXPECT_EQ(run([](const std::string&, int) { ::_exit(7); }).how, "exited with status 7");
  EXPECT_EQ(run([](const std::string&, int) { ::signal(SIGSEGV, SIG_DFL), __builtin_trap(); }).how,
            "killed by signal 4 (Illegal instruction)");
}

TEST_F(SandboxTest, LimitsMemory) {
#if defined(__SANITIZE_ADDRESS__)
  VS_SKIP(kSanitizer) << "the sanitizer maps more than any limit";
#endif
  limits_.memory = 64 << 20;
  const auto map = [](size_t size) {
    return ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
               ? -1
               : 0;
  };
  EXPECT_EQ(attempt([&] { return map(32 << 20); }), "worked");
  EXPECT_EQ(attempt([&] { return map(128 << 20); }), "ENOMEM");
}

TEST_F(SandboxTest, LimitsTheSizeOfFiles) {
  std::ofstream(dir_.path() + "/data") << "content";
  ::chmod((dir_.path() + "/data").c_str(), 0666);
  ::chmod(dir_.path().c_str(), 0755);
  limits_.file_size = 4096;
  const SandboxOutcome outcome = run([](const std::string& directory, int out) {
    const int fd = ::open((directory + "/data").c_str(), O_RDWR);
    say_errno(out, ::ftruncate(fd, 1 << 20));
  });
  EXPECT_EQ(outcome.output, "EFBIG");
}

TEST_F(SandboxTest, LeavesTheParentAsItWas) {
  const auto count = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); };
  const auto before = count();
  for (int i = 0; i < 20; ++i) run([](const std::string&, int) {});
  EXPECT_EQ(count(), before);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
}

TEST_F(SandboxTest, SaysWhenItCannotBeEntered) {
  if (!root()) VS_SKIP(kRoot) << "without root there is no chroot to fail";
  const SandboxOutcome outcome = run_in_sandbox("/nonexistent", limits_, [](const std::string&, int) {});
  EXPECT_FALSE(outcome.finished);
  EXPECT_EQ(outcome.how, "failed to change the root");
}

}  // namespace
}  // namespace vs::unify
