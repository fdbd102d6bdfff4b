// Numbered contexts: what a kernel with the vserver patch had, and how a stock kernel is made to have it.
//
// 0 is the host. 1 is the spectator: sees every process of every context and can signal none. 2 to 65535 are
// contexts; numbers that nobody asked for are given out from 49152 up. Entering is not reversible. This
// header is the seam: context_ns.cc builds a context from a pid, mount, ipc, uts and cgroup namespace; a
// patched kernel gets another file behind it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/unique_fd.h"
#include "isolation/context/places.h"

namespace vs::isolation {

constexpr unsigned kHost = 0, kSpectator = 1, kFirstNumber = 2, kFirstDynamic = 49152, kLastNumber = 65535;

struct ContextInfo {
  unsigned number = 0;
  std::string name;  // of the vserver; "" for one of chcontext
  pid_t init = 0;    // as the host sees it
  uint64_t init_start =
      0;  // when it began, in ticks since boot: tells it from a later process with its number
  uint64_t pid_namespace = 0;
  std::map<std::string, std::string>
      facts;  // CGROUP, GUARDS, ADDRESSES, KEEP, FLAGS, STARTED: whoever made it says what holds in it
};

struct Child {
  pid_t pid = -1;  // as the host sees it
  UniqueFd pidfd;
};

struct CreateOptions {
  unsigned number = 0;  // 0: the next free one
  std::string name;
  std::map<std::string, std::string> facts;
  int cgroup = -1;       // version 2 directory to be born in; -1: the caller's
  bool network = false;  // a network namespace of its own
  // Runs in the caller when the number is known and before there is a process. What it returns is the first
  // of the host's ids of a user namespace that all others belong to (user_namespace.h); 0: none.
  std::function<uint32_t(unsigned number)> prepare = {};
  // Runs in the caller when process 1 is there, in its namespaces, and stands still before its body.
  std::function<void(const Child& child)> complete = {};
  bool user = false;  // made by an ordinary user: a user namespace that maps him to himself. Not registered;
                      // the number is told from the namespace.
};

class Contexts {
 public:
  virtual ~Contexts() = default;
  // Forks process 1 of a new context. It runs `body(number)` and ends with what that returns; `created` is
  // filled before the body begins. When the caller dies before create() returns, nothing of it remains.
  virtual Child create(const CreateOptions& options, const std::function<int(unsigned number)>& body,
                       ContextInfo& created) = 0;
  // Forks a child that is in the context; it runs `body`. `cgroup` as above.
  virtual Child enter(const ContextInfo& context, int cgroup, const std::function<int()>& body) = 0;
  // Forks a child that sees all processes and can signal none; see kSpectator.
  virtual Child spectate(const std::function<int()>& body) = 0;
  // Living contexts by number; entries of dead ones are removed on the way.
  virtual std::vector<ContextInfo> list() = 0;
  virtual std::optional<ContextInfo> find(unsigned number) = 0;
  virtual std::optional<ContextInfo> find_named(const std::string& name) = 0;
  // Which context a process of the host's view is in; nothing for no such process. It is found through its
  // pid namespace, which it cannot forge.
  virtual std::optional<unsigned> of_process(pid_t pid) = 0;
  // The same for many processes, with a list() taken before.
  virtual std::optional<unsigned> of_process(pid_t pid, const std::vector<ContextInfo>& living) = 0;
  virtual void forget(unsigned number) = 0;
};

std::unique_ptr<Contexts> make_contexts(const Places& places);

// The exit status of a child as a shell says it: 128 + n for a signal.
int wait_for(const Child& child);

}  // namespace vs::isolation
