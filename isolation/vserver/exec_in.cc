#include "isolation/vserver/exec_in.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/durable/durable_file.h"
#include "isolation/confine/confine.h"
#include "isolation/context/pty.h"
#include "isolation/vserver/guest_init.h"

namespace vs::isolation {
namespace {

volatile pid_t interrupted_child = 0;  // for the handler
void pass_on(int signal) {
  ::kill(interrupted_child, signal);
}

std::string fact(const ContextInfo& context, const char* key) {
  const auto it = context.facts.find(key);
  return it == context.facts.end() ? std::string() : it->second;
}

// What process 1 was given at the start.
Confinement confinement_of(const Runtime& runtime, const ContextInfo& context) {
  Confinement confinement;
  confinement.keep = std::stoull("0" + fact(context, "KEEP"), nullptr, 16);
  confinement.scope_abstract_sockets = fact(context, "SCOPED") == "1";
  confinement.filter = value_or_throw(read_whole(runtime.places.filter_file(context.name)));
  return confinement;
}

// The last steps of the child, which is in the namespaces. `terminal` is where the caller waits for the one
// that is made for it.
int run_inside(const ExecOptions& options, const Confinement& confinement, unsigned terminals, int terminal) {
  if (::chdir("/") != 0) return 125;
  ::setsid();  // else /dev/tty inside would be the terminal of whoever runs this
  if (options.instead) ok_or_throw(own_standard_files());
  if (terminals != 0) ok_or_throw(take_terminal(terminal, terminals));
  const GuestUser user = value_or_throw(find_user(options.user));
  ok_or_throw(confine(confinement));
  ok_or_throw(become_user(user));
  if (options.instead) return options.instead();
  if (!options.login) return exec_command(options.command, guest_environment(user));
  return exec_command({user.shell, "-l"}, guest_environment(user));
}

}  // namespace

int exec_in_context(Runtime& runtime, const ContextInfo& context, const ExecOptions& options) {
  // The child alone enters, not this process: `stop` could not remove a cgroup that it is in.
  const auto v1_cgroups = runtime.cgroups.open_v1_processes(fact(context, "CGROUP"));
  const UniqueFd cgroup = value_or_throw(runtime.cgroups.open_processes(fact(context, "CGROUP")));
  const Confinement confinement = confinement_of(runtime, context);
  const unsigned terminals = options.instead ? 0 : terminals_of_caller();
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
    throw Error(problem_from_errno("make", "a socket pair").message);
  UniqueFd ours(sockets[0]), theirs(sockets[1]);
  const Child child = runtime.contexts->enter(context, cgroup.get(), [&]() -> int {
    for (const auto& v1 : v1_cgroups)
      ok_or_throw(write_all(v1.get(), "0", "the cgroup.procs of the vserver"));
    return run_inside(options, confinement, terminals, theirs.get());
  });
  theirs.reset();
  // The child is in a session of its own: what the terminal or anybody sends to this process is meant for it.
  interrupted_child = child.pid;
  for (const int signal : {SIGINT, SIGQUIT, SIGTERM, SIGHUP}) ::signal(signal, pass_on);
  const UniqueFd master = terminals != 0 ? receive_terminal(ours.get()) : UniqueFd();
  if (master) relay(master.get(), child.pidfd.get());
  pollfd ended{child.pidfd.get(), POLLIN, 0};
  if (options.limit_seconds > 0 && ::poll(&ended, 1, static_cast<int>(options.limit_seconds * 1000)) == 0)
    ::kill(child.pid, SIGKILL);
  const int status = wait_for(child);
  for (const int signal : {SIGINT, SIGQUIT, SIGTERM, SIGHUP}) ::signal(signal, SIG_DFL);
  return status;
}

}  // namespace vs::isolation
