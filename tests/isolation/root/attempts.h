// The table of what root in a guest attempts: how each attempt is answered inside, and that the same program
// gets through outside, where only the guest's confinement is missing.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/run.h"
#include "tests/support/temp_dir.h"

namespace vs::test {

// How a guest is confined: as it comes, with USERNS (and given all capabilities that others must not have),
// with a network of its own.
enum class Confined { kPlain, kUserNamespace, kPrivateNetwork };

// Where the attempt is made outside. All are throw-away: nothing of the machine is changed.
enum class Outside {
  kMounts,     // mount, host name and IPC namespaces; /proc/sys is a mount, as it is in a guest
  kProcesses,  // those and a pid namespace, whose process 1 is ours to look at
  kChroot,     // a plain chroot and nothing else
  kLeaky,      // with a descriptor and a capability inherited
};

// Another answer than "WORKED" that shows outside that nothing was denied.
struct OtherAnswer {
  const char* answer;
  const char* why;
  bool absent = false;  // the kernel has nothing to be attacked here: the attempt cannot be made
};

struct Attempt {
  const char* group;
  const char* name;
  std::string words;   // of the attacker; {canary}: a file of the host, {self}: the number of this process
  const char* inside;  // how it is answered in a guest, the errno by name
  const char* user_namespace = nullptr;   // the same with USERNS, if it differs
  const char* private_network = nullptr;  // the same with NETWORK=private, if it differs
  Outside outside = Outside::kMounts;
  std::vector<OtherAnswer> others = {};

  std::string expected(Confined mode) const;
};

const std::vector<Attempt>& attempts();
// The last line of what the attacker wrote: "WORKED", "EPERM", ...
std::string outcome(const RunResult& result);

// What the attempts are aimed at, while it is there: a file, servers on the host's loopback, other addresses.
// Needs the test's own network namespace (VS_NEEDS_ISOLATION).
class Targets {
 public:
  Targets();
  ~Targets();
  Targets(const Targets&) = delete;
  Targets& operator=(const Targets&) = delete;
  Command words_of(const Attempt& attempt) const;
  RunResult attempt_outside(const Attempt& attempt) const;

 private:
  TempDir dir_;
  std::vector<std::unique_ptr<Process>> servers_;
};

}  // namespace vs::test
