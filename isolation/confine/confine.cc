#include "isolation/confine/confine.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "core/escape.h"
#include "core/unique_fd.h"
#include "isolation/confine/syscall_filter.h"

namespace vs::isolation {
namespace {

// As in Linux 6.12; the headers we are built with may be older.
struct LandlockRuleset {
  uint64_t handled_access_fs = 0, handled_access_net = 0, scoped = 0;
};
constexpr uint64_t kScopeAbstractSockets = 1;

Result scope_abstract_sockets() {
  LandlockRuleset attributes;
  attributes.scoped = kScopeAbstractSockets;
  const UniqueFd ruleset(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0)));
  if (!ruleset || ::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0)
    return problem_from_errno("keep the guest from", "abstract sockets of the host");
  return Ok{};
}

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream stream(line);
  for (std::string field; std::getline(stream, field, ':');) fields.push_back(field);
  return fields;
}

bool to_number(const std::string& text, uint32_t& number) {
  if (text.empty() || text.size() > 10 || text.find_first_not_of("0123456789") != std::string::npos)
    return false;
  number = static_cast<uint32_t>(std::stoull(text));
  return number != ~0U;
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> result;
  for (const auto& word : words) result.push_back(const_cast<char*>(word.c_str()));
  result.push_back(nullptr);
  return result;
}

}  // namespace

void run_from_read_only_self(char** argv) {
  const UniqueFd self(::open("/proc/self/exe", O_PATH | O_CLOEXEC));
  struct statvfs where {};
  if (self && ::fstatvfs(self.get(), &where) == 0 && (where.f_flag & ST_RDONLY) != 0) {
    ::prctl(PR_SET_NAME, "vserver");  // exec of a descriptor names the process after its number
    return;
  }
  const UniqueFd clone(::open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  struct mount_attr attributes {};
  attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID;
  if (!clone || ::mount_setattr(clone.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
    throw Error(problem_from_errno("make a read-only mount of", "/proc/self/exe").message);
  ::execveat(clone.get(), "", argv, environ, AT_EMPTY_PATH);
  throw Error(problem_from_errno("execute again", "/proc/self/exe").message);
}

Result confine(const Confinement& confinement) {
  // Before seccomp closes the door: not the keyring of who started the guest.
  ::syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr, 0, 0, 0);
  for (const auto& [resource, value] : confinement.rlimits) {
    const rlimit limit{value, value};
    if (::setrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0)
      return problem_from_errno("set", fmt::format("resource limit {}", resource));
  }
  if (confinement.nice != 0 && ::setpriority(PRIO_PROCESS, 0, static_cast<int>(confinement.nice)) != 0)
    return problem_from_errno("set", "S_NICE");
  if (confinement.scope_abstract_sockets)
    if (auto done = scope_abstract_sockets(); !done) return done;
  if (::syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
    return problem_from_errno("close", "descriptors");
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  // A filter may be loaded without no_new_privs while we have SYS_ADMIN: so before the capabilities go.
  if (auto done = load_guest_filter(confinement.filter); !done) return done;
  return keep_only(confinement.keep);
}

Expected<GuestUser> find_user(const std::string& name) {
  GuestUser user;
  std::ifstream passwd("/etc/passwd");
  bool found = false;
  for (std::string line; !found && std::getline(passwd, line);) {
    const auto fields = fields_of(line);
    if (fields.size() < 6 || fields[0] != name || !to_number(fields[2], user.uid) ||
        !to_number(fields[3], user.gid))
      continue;
    found = true;
    user.name = name;
    user.home = fields[5].empty() ? "/" : fields[5];
    if (fields.size() > 6 && !fields[6].empty()) user.shell = fields[6];
  }
  if (!found && name != "root")
    return Problem{ENOENT, fmt::format("the guest has no user '{}' in its /etc/passwd", escaped(name))};
  user.groups = {user.gid};
  std::ifstream group("/etc/group");
  for (std::string line; std::getline(group, line) && user.groups.size() < 1024;) {
    const auto fields = fields_of(line);
    uint32_t gid = 0;
    if (fields.size() >= 4 && to_number(fields[2], gid) &&
        ("," + fields[3] + ",").find("," + name + ",") != std::string::npos)
      user.groups.push_back(gid);
  }
  return user;
}

Result become_user(const GuestUser& user) {
  if (::setgroups(user.groups.size(), user.groups.data()) != 0 ||
      ::setresgid(user.gid, user.gid, user.gid) != 0 || ::setresuid(user.uid, user.uid, user.uid) != 0)
    return problem_from_errno("become", escaped(user.name));
  if (::chdir(user.home.c_str()) != 0 && ::chdir("/") != 0) return problem_from_errno("go to", "/");
  return Ok{};
}

std::vector<std::string> guest_environment(const GuestUser& user) {
  std::vector<std::string> environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                          "container=vserver",
                                          "HOME=" + user.home,
                                          "USER=" + user.name,
                                          "LOGNAME=" + user.name,
                                          "SHELL=" + user.shell};
  for (const char* name : {"TERM", "LANG"})
    if (const char* value = std::getenv(name)) environment.push_back(fmt::format("{}={}", name, value));
  return environment;
}

int exec_command(const std::vector<std::string>& command, const std::vector<std::string>& environment) {
  for (const auto& one : environment)
    if (one.starts_with("PATH=")) ::setenv("PATH", one.substr(5).c_str(), 1);  // where execvpe looks
  ::execvpe(command.at(0).c_str(), pointers(command).data(), pointers(environment).data());
  const int failed = errno;
  ::dprintf(2, "cannot run %s: %s\n", escaped(command[0]).c_str(), std::strerror(failed));
  return failed == ENOENT ? 127 : 126;
}

}  // namespace vs::isolation
