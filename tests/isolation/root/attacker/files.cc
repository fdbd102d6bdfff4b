// Attempts at files: those of the kernel, those outside of the tree, seals and projects.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include "tests/isolation/root/attacker/outcome.h"

namespace attacker {
namespace {

// One byte. ENODATA: it opens and is empty, as what covers a file of the kernel is.
Outcome try_read(const char* path, const char*) {
  const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  char byte = 0;
  if (fd < 0) return answered(-1);
  const auto got = read(fd, &byte, 1);
  if (got == 0) errno = ENODATA;
  return answered(got == 1 ? 0 : -1);
}

// /proc/keys shows what its reader possesses: so one key first, where that is allowed.
Outcome try_read_keys(const char*, const char*) {
  syscall(SYS_add_key, "user", "attacker", "y", 1, -2 /* KEY_SPEC_PROCESS_KEYRING */);
  return try_read("/proc/keys", "");
}

// The classic: a directory kept open outside of a second chroot, then up.
Outcome try_double_chroot(const char* canary, const char*) {
  mkdir("/jail", 0755);
  const int above = open("/", O_RDONLY | O_DIRECTORY);
  if (chroot("/jail") != 0 || fchdir(above) != 0) return untried("chroot to /jail");
  for (int i = 0; i < 64; ++i)
    if (chdir("..") != 0) return untried("go up");
  if (chroot(".") != 0) return untried("chroot above");
  return answered(access(canary, F_OK));
}

Outcome try_unseal(const char* path, const char*) {
  const int fd = open(path, O_RDONLY);
  int flags = 0;
  if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return untried("look at the seal");
  if ((flags & FS_IMMUTABLE_FL) == 0) return errno = ENODATA, untried("a seal");
  flags &= ~FS_IMMUTABLE_FL;
  return answered(ioctl(fd, FS_IOC_SETFLAGS, &flags));
}

Outcome try_leave_project(const char* path, const char*) {
  const int fd = open(path, O_RDONLY);
  fsxattr attributes{};
  if (fd < 0 || ioctl(fd, FS_IOC_FSGETXATTR, &attributes) != 0) return untried("look at the project");
  attributes.fsx_projid = 0;
  attributes.fsx_xflags &= ~static_cast<unsigned>(FS_XFLAG_PROJINHERIT);
  return answered(ioctl(fd, FS_IOC_FSSETXATTR, &attributes));
}

// The handle of the current directory; where that is refused, what the root directory of an ext4 has.
Outcome try_handle(const char*, const char*) {
  struct {
    file_handle handle;
    unsigned char bytes[MAX_HANDLE_SZ];
  } here{};
  int mount = 0;
  here.handle.handle_bytes = sizeof here.bytes;
  if (name_to_handle_at(AT_FDCWD, ".", &here.handle, &mount, 0) != 0) {
    here.handle.handle_bytes = 8;
    here.handle.handle_type = 1;
    const uint32_t root = 2;
    std::memcpy(here.handle.f_handle, &root, sizeof root);
  }
  return answered(open_by_handle_at(open(".", O_RDONLY), &here.handle, O_RDONLY));
}

// Each way to put something else in the place of a socket; all must fail. `word`: the directory that it is
// in.
Outcome try_replace(const char* word, const char*) {
  const std::string name = std::string(word) + "/reboot", other = std::string(word) + "/other";
  int worked = 0;
  worked += unlink(name.c_str()) == 0;
  worked += symlink("/etc/passwd", other.c_str()) == 0;
  worked += rename("/etc/passwd", name.c_str()) == 0;
  worked += rename(word, "/dev/elsewhere") == 0;
  worked += rmdir(word) == 0;
  worked += chmod(name.c_str(), 0666) == 0;
  worked += umount2(word, MNT_DETACH) == 0;
  worked += mount(nullptr, word, nullptr, MS_REMOUNT | MS_BIND, nullptr) == 0;
  worked += open((std::string(word) + "/file").c_str(), O_CREAT | O_WRONLY, 0600) >= 0;
  std::printf("%d worked\n", worked);
  return answered(worked != 0 ? 0 : -1);
}

constexpr Try kTries[] = {
    {"write",
     [](const char* path, const char*) { return answered(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)); }},
    {"read", try_read},
    {"read-keys", try_read_keys},
    {"exists",
     [](const char* path, const char*) {
       return chdir("/") == 0 ? answered(access(path, F_OK)) : untried("go to /");
     }},
    {"double-chroot", try_double_chroot},
    {"unseal", try_unseal},
    {"leave-project", try_leave_project},
    {"handle", try_handle},
    {"replace", try_replace},
};

}  // namespace

std::span<const Try> tries_at_files() {
  return kTries;
}

}  // namespace attacker
