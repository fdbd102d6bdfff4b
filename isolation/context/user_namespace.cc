#include "isolation/context/user_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <sstream>

#include "core/durable/durable_file.h"

namespace vs::isolation {
namespace {

constexpr uint64_t kLastId = 0xfffffffe;  // the one above means "none"

bool overlap(uint64_t first, uint64_t count, uint64_t other_first, uint64_t other_count) {
  return first < other_first + other_count && other_first < first + count;
}

// Lines "user:first:count"; who has some of the ids, or "".
std::string owner_in(const char* file, uint32_t first) {
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string user;
    uint64_t other = 0, count = 0;
    char colon = 0;
    if (std::getline(fields, user, ':') && fields >> other >> colon >> count &&
        overlap(first, kIdsOfGuest, other, count))
      return user;
  }
  return {};
}

Result write_map(const std::string& file, const std::string& line) {
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  return fd ? write_all(fd.get(), line, file) : Result(problem_from_errno("open", file));
}

uint64_t user_namespace_of(const std::string& process) {
  struct stat found {};
  return ::stat(("/proc/" + process + "/ns/user").c_str(), &found) == 0 ? found.st_ino : 0;
}

}  // namespace

Expected<uint32_t> first_id_of(unsigned number, uint32_t configured, const std::vector<ContextInfo>& living,
                               const char* subuid, const char* subgid) {
  const uint32_t first = configured != 0 ? configured : number * kIdsOfGuest;
  const std::string range =
                        fmt::format("the ids {} to {} of USERNS", first, uint64_t{first} + kIdsOfGuest - 1),
                    advice = "; give it others by USERNS=FIRST in NAME.conf";
  if (first + uint64_t{kIdsOfGuest} - 1 > kLastId) return Problem{ERANGE, range + " are too many" + advice};
  for (const char* file : {subuid, subgid})
    if (const auto owner = owner_in(file, first); !owner.empty())
      return Problem{EEXIST, fmt::format("{} belong to {} in {}{}", range, owner, file, advice)};
  for (const auto& other : living) {
    const auto it = other.facts.find("USERNS");
    if (it != other.facts.end() && overlap(first, kIdsOfGuest, std::stoull("0" + it->second), kIdsOfGuest))
      return Problem{
          EEXIST, fmt::format("{} are in use by context {} ({}){}", range, other.number, other.name, advice)};
  }
  return first;
}

Result map_ids(pid_t pid, uint32_t first) {
  for (const char* kind : {"uid", "gid"})
    if (auto done =
            write_map(fmt::format("/proc/{}/{}_map", pid, kind), fmt::format("0 {} {}", first, kIdsOfGuest));
        !done)
      return done;
  return Ok{};
}

Expected<UniqueFd> make_id_mapping(uint32_t first) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) return problem_from_errno("make", "a pipe");
  UniqueFd read_end(pipe[0]), write_end(pipe[1]);
  // Not core/subprocess: the child only holds a user namespace open and becomes no program.
  const pid_t pid = ::fork();
  if (pid < 0) return problem_from_errno("make", "a user namespace");
  if (pid == 0) {
    char byte = ::unshare(CLONE_NEWUSER) == 0 ? 0 : static_cast<char>(errno);
    if (::write(write_end.get(), &byte, 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  write_end.reset();
  char failed = EIO;
  if (::read(read_end.get(), &failed, 1) != 1) failed = EIO;
  Result done = failed == 0 ? map_ids(pid, first) : Result(problem_from(failed, "make", "a user namespace"));
  UniqueFd mapping(::open(fmt::format("/proc/{}/ns/user", pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (done && !mapping) done = problem_from_errno("open", "a user namespace");
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  if (!done) return done.error();
  return mapping;
}

Result become_root_inside() {
  if (::setgroups(0, nullptr) != 0 || ::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0)
    return problem_from_errno("become", "root of the user namespace");
  return Ok{};
}

bool has_own_user_namespace(pid_t pid) {
  const uint64_t its = user_namespace_of(fmt::to_string(pid));
  return its != 0 && its != user_namespace_of("self");
}

}  // namespace vs::isolation
