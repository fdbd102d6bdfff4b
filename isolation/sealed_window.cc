#include "isolation/sealed_window.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <map>

#include "isolation/die_if_told.h"

namespace vs::isolation {
namespace {

constexpr int kSealFlags = FS_IMMUTABLE_FL | FS_APPEND_FL;
// A guest that changes it again and again has to hit the microsecond between our last call and the seal each time.
constexpr auto kPatience = std::chrono::milliseconds(500);

int flags_of(int fd) {
  int flags = 0;
  return ::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 ? flags : 0;
}
bool set_flags(int fd, int flags) { return ::ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0; }

using Attributes = std::map<std::string, std::string>;

Attributes attributes_of(int fd) {
  Attributes found;
  std::string names(1 << 16, '\0'), value(1 << 16, '\0');
  const ssize_t size = ::flistxattr(fd, names.data(), names.size());
  for (ssize_t at = 0; at < size;) {
    const std::string name = names.c_str() + at;
    at += static_cast<ssize_t>(name.size()) + 1;
    const ssize_t got = ::fgetxattr(fd, name.c_str(), value.data(), value.size());
    if (got >= 0) found[name] = value.substr(0, static_cast<size_t>(got));
  }
  return found;
}

struct Class {
  struct stat stat {};
  Attributes attributes;
};

Expected<Class> class_of(int fd, const std::string& shown) {
  Class found;
  if (::fstat(fd, &found.stat) != 0) return problem_from_errno("look at", shown);
  found.attributes = attributes_of(fd);
  return found;
}

bool same(const Class& a, const Class& b) {
  return a.stat.st_uid == b.stat.st_uid && a.stat.st_gid == b.stat.st_gid && a.stat.st_mode == b.stat.st_mode && a.stat.st_mtim.tv_sec == b.stat.st_mtim.tv_sec &&
         a.stat.st_mtim.tv_nsec == b.stat.st_mtim.tv_nsec && a.attributes == b.attributes;
}

// Best effort: same() is asked again.
void put_back(int fd, const Class& before) {
  bool done = ::fchown(fd, before.stat.st_uid, before.stat.st_gid) == 0;
  done = ::fchmod(fd, before.stat.st_mode & 07777) == 0 && done;
  for (const auto& [name, value] : attributes_of(fd))
    if (!before.attributes.contains(name)) done = ::fremovexattr(fd, name.c_str()) == 0 && done;
  for (const auto& [name, value] : before.attributes) done = ::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0 && done;
  const timespec times[] = {{0, UTIME_OMIT}, before.stat.st_mtim};
  done = ::futimens(fd, times) == 0 && done;
  static_cast<void>(done);
}

Result seal_as_before(int fd, int flags, const Class& before, const std::string& shown) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    if (!set_flags(fd, flags)) return problem_from_errno("seal again what others share with", shown);
    const auto after = class_of(fd, shown);
    if (!after) return after.error();
    if (same(before, *after)) return Ok{};
    if (std::chrono::steady_clock::now() > until)
      return Problem{EBUSY, "owner, mode, time or attributes of " + shown + " could not be made what they were: a guest that shares it keeps changing them"};
    if (!set_flags(fd, flags & ~kSealFlags)) return problem_from_errno("unseal", shown);
    put_back(fd, before);
  }
}

}  // namespace

void expect_lease_signals() { ::signal(SIGIO, SIG_IGN); }

bool is_sealed(int fd) { return (flags_of(fd) & kSealFlags) != 0; }

Result in_unsealed_moment(SealKeeper& keeper, int fd, const std::string& shown, const std::function<int()>& change) {
  const int flags = flags_of(fd);
  const auto before = class_of(fd, shown);
  if (!before) return before.error();
  if (::fcntl(fd, F_SETLEASE, F_RDLCK) != 0) return problem_from_errno("keep others from writing to", shown);
  // It knows the immutable attribute only; files that a guest made append-only are shared with nobody.
  if ((flags & FS_IMMUTABLE_FL) != 0)
    if (auto done = keeper.hand_over({&fd, 1}); !done) return done;
  if (!set_flags(fd, flags & ~kSealFlags)) return problem_from_errno("unseal", shown);
  die_if_told("unseal");
  const int failed = change();
  struct stat after {};
  const bool gone = ::fstat(fd, &after) == 0 && after.st_nlink == 0;
  const auto sealed = gone ? Result(Ok{}) : seal_as_before(fd, flags, *before, shown);
  if (!sealed) return sealed;  // the keeper has it still, and will try
  if (auto done = keeper.forget(); !done) return done;
  ::fcntl(fd, F_SETLEASE, F_UNLCK);
  return failed == 0 ? Result(Ok{}) : Result(problem_from(failed, "change the names of", shown));
}

}  // namespace vs::isolation
