// Attempts at other processes, and at what this one inherited or shares with them.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/isolation/root/attacker/outcome.h"

namespace attacker {
namespace {

// How many seconds a program is waited for that runs for milliseconds only, again and again.
constexpr unsigned kPatience = 40;

// Descriptors: 0, 1, 2 and the one that lists them. Nothing else may have been inherited: EBADF then.
Outcome find_descriptors(const char*, const char*) {
  DIR* dir = opendir("/proc/self/fd");
  if (dir == nullptr) return untried("/proc/self/fd");
  bool found = false;
  while (const dirent* entry = readdir(dir)) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] == '.' || fd <= 2 || fd == dirfd(dir)) continue;
    std::fprintf(stderr, "descriptor %d is open\n", fd);
    found = true;
  }
  errno = EBADF;
  return answered(found ? 0 : -1);
}

// Capabilities that a program without any would get by being executed. EPERM: there are none.
Outcome find_inheritable(const char*, const char*) {
  FILE* file = fopen("/proc/self/status", "r");
  char line[256];
  while (file != nullptr && fgets(line, sizeof line, file) != nullptr) {
    if (std::strncmp(line, "CapInh:", 7) != 0) continue;
    errno = EPERM;
    return answered(std::strtoull(line + 7, nullptr, 16) != 0 ? 0 : -1);
  }
  return untried("/proc/self/status");
}

// System V memory ("shm"), semaphores ("sem") and queues ("msg") by the key of one that the host has.
Outcome try_ipc(const char* key, const char* kind) {
  const auto number = static_cast<key_t>(std::strtol(key, nullptr, 0));
  if (std::strcmp(kind, "shm") == 0) return answered(shmget(number, 0, 0));
  if (std::strcmp(kind, "sem") == 0) return answered(semget(number, 0, 0));
  return answered(msgget(number, 0));
}

Outcome try_abstract(const char* name, const char*) {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strncpy(to.sun_path + 1, name, sizeof to.sun_path - 2);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + std::strlen(name));
  return answered(connect(fd, reinterpret_cast<const sockaddr*>(&to), size));
}

// Not a stop: whoever is traced outside goes on, and is let go when this program ends.
Outcome try_ptrace(const char* pid, const char*) {
  return answered(ptrace(PTRACE_SEIZE, std::atoi(pid), nullptr, nullptr));
}

// A descriptor of the program with this inode number that some process runs right now; -1: none does.
int running_program(DIR* proc, ino_t inode) {
  rewinddir(proc);
  while (const dirent* entry = readdir(proc)) {
    if (std::atoi(entry->d_name) == 0) continue;
    const int fd = open((std::string("/proc/") + entry->d_name + "/exe").c_str(), O_PATH | O_CLOEXEC);
    struct stat found {};
    if (fd >= 0 && fstat(fd, &found) == 0 && found.st_ino == inode) return fd;
    if (fd >= 0) close(fd);
  }
  return -1;
}

// Waits for a process that runs the program with this inode number, keeps hold of the program, and opens that
// for writing when nobody runs it any more. `/watching` is there when it has begun to look, `/caught` when it
// has the program. "TIMEOUT": no such process was seen.
Outcome try_write_program(const char* inode, const char*) {
  DIR* proc = opendir("/proc");
  if (proc == nullptr) return untried("/proc");
  const auto wanted = static_cast<ino_t>(std::strtoull(inode, nullptr, 10));
  give_up_after(kPatience);
  close(open("/watching", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  int program = -1;
  while (program < 0) program = running_program(proc, wanted);
  close(open("/caught", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const std::string held = "/proc/self/fd/" + std::to_string(program);
  int opened = -1;
  while ((opened = open(held.c_str(), O_WRONLY | O_CLOEXEC)) < 0 && errno == ETXTBSY) usleep(10000);
  return answered(opened);
}

sockaddr_un named(const char* path) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strncpy(to.sun_path, path, sizeof to.sun_path - 1);
  return to;
}

// A thousand connections that say nothing; as many as the queue holds stay open.
Outcome flood(const char* path, const char*) {
  const auto to = named(path);
  int open_ones = 0;
  for (int i = 0; i < 1000; ++i) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    open_ones += connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  }
  std::printf("%d open\n", open_ones);
  std::fflush(stdout);
  FILE* done = fopen("/flooding", "w");
  if (done != nullptr) fclose(done);
  sleep(30);  // the test ends it: this is how long the connections stay
  return "FLOODED";
}

// Writes `text` to the socket `path`.
Outcome ask(const char* path, const char* text) {
  const auto to = named(path);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) return answered(-1);
  return write(fd, text, std::strlen(text)) < 0 ? untried("write") : kWorked;
}

constexpr Try kTries[] = {
    {"kill", [](const char* pid, const char*) { return answered(kill(std::atoi(pid), 0)); }},
    {"ptrace", try_ptrace},
    {"ipc", try_ipc},
    {"abstract", try_abstract},
    {"descriptors", find_descriptors},
    {"inheritable", find_inheritable},
    {"write-program", try_write_program},
    {"flood", flood},
    {"ask", ask},
};

}  // namespace

std::span<const Try> tries_at_processes() {
  return kTries;
}

}  // namespace attacker
