#include "isolation/lifecycle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>
#include <optional>

#include "core/durable_file.h"
#include "core/escape.h"
#include "core/host_lock.h"
#include "isolation/abstract_sockets.h"
#include "isolation/address_programs.h"
#include "isolation/confine.h"
#include "isolation/device_filter.h"
#include "isolation/die_if_told.h"
#include "isolation/guest_init.h"
#include "isolation/held.h"
#include "isolation/mounts.h"
#include "isolation/private_network.h"
#include "isolation/project_quota.h"
#include "isolation/pty.h"
#include "isolation/reboot_place.h"
#include "isolation/syscall_filter.h"

namespace vs::isolation {
namespace {

namespace fs = std::filesystem;

// --- locks, hooks -------------------------------------------------------------------------------------------

UniqueFd run_dir(const Places& places) {
  std::error_code error;
  fs::create_directories(places.run, error);
  UniqueFd fd(::open(places.run.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) throw Error(problem_from_errno("open", places.run).message);
  return fd;
}

class Lock {
 public:
  Lock(const Places& places, const std::string& name) : dir_(run_dir(places)), lock_(dir_.get(), name + ".lock", fmt::format("{}/{}.lock", places.run, name)) {}

 private:
  UniqueFd dir_;
  HostLock lock_;
};

int run_on_host(const std::vector<std::string>& command) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    std::vector<char*> argv;
    for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void run_hook(const Places& places, const std::string& name, const char* phase) {
  const std::string script = fmt::format("{}/{}.sh", places.conf, name);
  if (::access(script.c_str(), F_OK) != 0) return;
  if (::access(script.c_str(), X_OK) != 0) throw Error(fmt::format("{} is not executable", script));
  if (const int status = run_on_host({script, phase, name}); status != 0) throw Error(fmt::format("{} {} {} ended with status {}", script, phase, name, status));
}

// --- what is held and how it is given back -------------------------------------------------------------------

std::string held_address(const BindAddress& address) { return fmt::format("{}:{}/{}", address.device, address.text(), address.prefix); }

Result give_back(Runtime& runtime, const Held::Thing& thing) {
  if (thing.kind == "address") return remove_alias(parse_address(thing.what));
  if (thing.kind == "cgroup") return runtime.cgroups.remove(thing.what);
  if (thing.kind == "link") return remove_link(thing.what);
  if (thing.kind == "reboot") return remove_reboot_dir(runtime.places, thing.what);
  if (thing.kind == "context") runtime.contexts->forget(static_cast<unsigned>(std::stoul(thing.what)));
  if (thing.kind == "file") ::unlink(thing.what.c_str());
  return Ok{};
}

// In the opposite order of taking, after the end of all processes: the first one of a guest whose start was killed may still be taking things. What cannot be given back is told and
// stays on the list for the next command.
void give_all_back(Runtime& runtime, const std::string& name) {
  const Held held(runtime.places, name);
  bool failed = false;
  const auto kill = [&](const Held::Thing& thing) {
    if (thing.kind != "cgroup") return;
    if (const auto done = runtime.cgroups.kill(thing.what); !done) {
      runtime.log.error(done.error().message);
      failed = true;
    }
  };
  const auto taken = held.things();
  std::for_each(taken.begin(), taken.end(), kill);
  auto things = held.things();  // once more: now nobody adds to it
  std::reverse(things.begin(), things.end());
  for (const auto& thing : things)
    if (const auto done = give_back(runtime, thing); !done) {
      runtime.log.error(done.error().message);
      failed = true;
    }
  if (!failed) held.end();
}

// --- start ---------------------------------------------------------------------------------------------------

struct Start {
  Runtime& runtime;
  const ContainerSpec& spec;
  Held held;
  UniqueFd cgroup;     // where the processes go
  ContextInfo context;
  std::string guards;
  std::string filter;                    // of system calls
  std::optional<BindAddress> loopback6;  // where the host has IPv6
  std::vector<PrivateLink> links;        // NETWORK=private
  UniqueFd host_network;
  AbstractSocketGuard abstract_sockets = AbstractSocketGuard::none;
};

// In words for status. Throws Error naming a promised guard that this host does not have.
std::string guards_in_force(Start& start) {
  const auto& spec = start.spec;
  std::string guards = "namespaces capabilities seccomp devices";
  if (spec.tied) guards += " addresses";
  if (spec.private_network) return guards + " network";  // abstract sockets are of a network namespace, too
  if (std::find(spec.waived.begin(), spec.waived.end(), "abstract-sockets") != spec.waived.end()) return guards;
  start.abstract_sockets = abstract_socket_guard();
  if (start.abstract_sockets == AbstractSocketGuard::none)
    throw Error(
        "the guard abstract-sockets is not available: it needs bpf in the kernel's list of security modules (boot option lsm=...,bpf with all that /sys/kernel/security/lsm "
        "lists before it) or Landlock of Linux 6.12. Guests could connect to abstract unix sockets of this host; GUARD=\"!abstract-sockets\" starts the vserver all the same");
  return guards + " abstract-sockets";
}

void check_guards(Start& start) {
  if (!fs::is_directory(start.spec.root)) throw Error(fmt::format("the tree of vserver {} does not exist: {}", start.spec.name, start.spec.root));
  start.guards = guards_in_force(start);
}

// Part of its loopback, not of the host's network: added with --nodev, too.
void add_loopback6(Start& start) {
  const auto address = loopback6_of_vserver(start.spec.name);
  start.held.add("address", held_address(address));
  const auto added = add_alias(address, "");
  if (added || added.error().code == EEXIST)
    start.loopback6 = address;
  else
    start.runtime.log.verbose(fmt::format("no IPv6 on the loopback of this host: {}", added.error().message));
}

void limit_space(Start& start) {
  for (const auto& other : configured(start.runtime.places))
    if (start.spec.disk != 0 && other != start.spec.name && project_of_vserver(other) == project_of_vserver(start.spec.name))
      throw Error(fmt::format("vservers {} and {} would be one project for DISK; one of them needs another name", start.spec.name, other));
  ok_or_throw(limit_disk(start.spec.root, start.spec.name, start.spec.disk));
}

void plan_network(Start& start) {
  start.links = value_or_throw(plan_private_network(start.spec.name, start.spec.addresses));
  start.host_network.reset(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!start.host_network) throw Error(problem_from_errno("open", "/proc/self/ns/net").message);
}

void add_addresses(Start& start) {
  if (start.spec.private_network) return plan_network(start);
  if (start.spec.tied) add_loopback6(start);
  if (!start.runtime.add_addresses) return;
  unsigned count = 0;
  for (const auto& address : start.spec.addresses) {
    if (address.device.empty()) continue;
    // eth0:name, eth0:name1, ... as ifconfig shows them.
    const std::string label = fmt::format("{}:{}{}", address.device, start.spec.name, count == 0 ? "" : fmt::to_string(count)).substr(0, IFNAMSIZ - 1);
    ++count;
    if (is_present(address)) continue;  // not ours to remove
    start.held.add("address", held_address(address));
    ok_or_throw(add_alias(address, label));
  }
}

void make_cgroup(Start& start) {
  const auto& spec = start.spec;
  start.held.add("cgroup", spec.name);
  ok_or_throw(start.runtime.cgroups.make(spec.name, spec.limits));
  const UniqueFd cgroup = value_or_throw(start.runtime.cgroups.open(spec.name));
  ok_or_throw(allow_harmless_devices(cgroup.get()));
  if (start.abstract_sockets == AbstractSocketGuard::bpf) ok_or_throw(keep_abstract_sockets_in(cgroup.get()));
  start.cgroup = value_or_throw(start.runtime.cgroups.open_processes(spec.name));
}

std::string filter_file(const Places& places, const std::string& name) { return fmt::format("{}/{}.filter", places.run, name); }

// For process 1, and in a file for commands that enter later.
void make_filter(Start& start) {
  start.filter = value_or_throw(make_guest_filter({.shared_network = !start.spec.private_network, .keep_projects = start.spec.disk != 0}));
  const std::string file = filter_file(start.runtime.places, start.spec.name);
  start.held.add("file", file);
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) throw Error(problem_from_errno("create", file).message);
  ok_or_throw(write_all(fd.get(), start.filter, file));
}

void make_reboot_place(Start& start) {
  start.held.add("reboot", start.spec.name);
  ok_or_throw(make_reboot_dir(start.runtime.places, start.spec.name));
}

Confinement confinement_of(const Start& start) {
  const ContainerSpec& spec = start.spec;
  Confinement confinement;
  confinement.keep = spec.keep();
  confinement.filter = start.filter;
  confinement.scope_abstract_sockets = start.abstract_sockets == AbstractSocketGuard::landlock;
  confinement.nice = spec.nice;
  confinement.rlimits = spec.rlimits;
  return confinement;
}

// Input is nothing, output a file of the guest's own /run: no descriptor of the host goes in.
Result own_standard_files() {
  const UniqueFd in(::open("/dev/null", O_RDONLY | O_NOFOLLOW | O_CLOEXEC)), out(::open("/run/boot.log", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640));
  if (!in || !out) return problem_from_errno("open in the guest", "/run/boot.log");
  ::dup2(in.get(), 0);
  ::dup2(out.get(), 1);
  ::dup2(out.get(), 2);
  return Ok{};
}

Result set_names(const ContainerSpec& spec) {
  const std::string& host = spec.hostname.empty() ? spec.name : spec.hostname;
  if (::sethostname(host.c_str(), host.size()) != 0) return problem_from_errno("set the host name", host);
  if (spec.domainname.empty()) return Ok{};
  const std::string domain = spec.domainname == "none" ? "" : spec.domainname;
  if (::setdomainname(domain.c_str(), domain.size()) != 0) return problem_from_errno("set the domain name", domain);
  return Ok{};
}

// In the child, where the number that makes the loopback address is known, and before anything of the guest runs.
Result tie(Start& start, unsigned number) {
  if (!start.spec.tied) return Ok{};
  const auto cgroup = start.runtime.cgroups.open(start.spec.name);
  if (cgroup && start.spec.private_network) return tie_to_addresses(cgroup->get(), {.addresses = start.spec.addresses, .own_network = true});
  return cgroup ? tie_to_addresses(cgroup->get(), {start.spec.addresses, loopback_of_context(number), start.loopback6}) : Result(cgroup.error());
}

Result prepare_guest(Start& start, unsigned number, InitStyle& style) {
  const auto& spec = start.spec;
  if (auto done = tie(start, number); !done) return done;
  if (spec.private_network) {
    const auto hold = [&start](const std::string& link) { start.held.add("link", link); };
    if (auto done = make_private_network(start.links, spec.gateways, start.host_network.get(), hold); !done) return done;
    die_if_told("network");
  }
  ::setsid();
  if (auto done = start.runtime.cgroups.enter(spec.name, false); !done) return done;
  if (auto done = set_names(spec); !done) return done;
  MountPlan plan = spec.mount_plan();
  plan.reboot = reboot_dir(start.runtime.places, spec.name);
  if (auto done = enter_guest_root(plan); !done) return done;
  style = detect_init(spec);
  if (auto done = own_standard_files(); !done) return done;
  return confine(confinement_of(start));
}

// Process 1 of the guest. `report` tells the starting command the init's style, or what failed; it is closed by exec, or before our own init goes on.
int guest_body(Start& start, unsigned number, int report) {
  InitStyle style = InitStyle::plain;
  Result prepared = Ok{};
  try {
    prepared = prepare_guest(start, number, style);
  } catch (const Error& error) {
    prepared = Problem{0, error.what()};
  }
  const std::string message = prepared ? fmt::format("+{}", init_style_name(style)) : "-" + prepared.error().message;
  if (::write(report, message.data(), message.size()) < 0 || !prepared) return 125;
  if (style == InitStyle::rc || style == InitStyle::plain) ::syscall(SYS_close_range, 3, ~0U, 0);
  return run_guest_init(style);
}

void spawn_context(Start& start) {
  const auto& spec = start.spec;
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) throw Error(problem_from_errno("make", "a pipe").message);
  UniqueFd read_end(pipe[0]), write_end(pipe[1]);
  CreateOptions options;
  options.number = spec.context;
  options.name = spec.name;
  options.cgroup = start.cgroup.get();
  options.network = spec.private_network;
  options.facts = {{"CGROUP", spec.name}, {"GUARDS", start.guards}, {"KEEP", fmt::format("{:x}", spec.keep())}, {"STARTED", fmt::to_string(std::time(nullptr))},
                   {"SCOPED", confinement_of(start).scope_abstract_sockets ? "1" : "0"}};
  std::string shown;
  for (const auto& address : spec.addresses) shown += (shown.empty() ? "" : " ") + address.text();
  options.facts["ADDRESSES"] = spec.tied ? shown : spec.private_network ? "none" : "all";
  const Child child = start.runtime.contexts->create(
      options,
      [&](unsigned number) { return guest_body(start, number, write_end.get()); },
      start.context);
  start.held.add("context", fmt::to_string(start.context.number));
  write_end.reset();
  std::string message;
  char buffer[4096];
  for (ssize_t got; (got = ::read(read_end.get(), buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR);)
    if (got > 0) message.append(buffer, static_cast<size_t>(got));
  if (message.starts_with('-')) throw Error(fmt::format("vserver {} could not be started: {}", spec.name, message.substr(1)));
  if (message.empty()) throw Error(fmt::format("vserver {} could not be started: its first process ended", spec.name));
  start.context.facts["INIT"] = message.substr(1);
  start.held.add("init", message.substr(1));
}

void write_state(Start& start) {
  const std::string file = fmt::format("{}/{}.ctx", start.runtime.places.run, start.spec.name);
  start.held.add("file", file);
  ok_or_throw(write_durably(file, fmt::format("S_CONTEXT={}\nS_PROFILE={}\n", start.context.number, start.spec.profile), 0644));
}

struct Step {
  const char* name;
  void (*take)(Start&);
};
// Each writes what it takes to the list of what is held; a failure at any gives all of it back. README.md has the same table.
constexpr Step kSteps[] = {
    {"pre-start", [](Start& start) { run_hook(start.runtime.places, start.spec.name, "pre-start"); }},
    {"guards", check_guards},
    {"disk", limit_space},
    {"addresses", add_addresses},
    {"cgroup", make_cgroup},
    {"filter", make_filter},
    {"reboot", make_reboot_place},
    {"context", spawn_context},
    {"state", write_state},
    {"post-start", [](Start& start) { run_hook(start.runtime.places, start.spec.name, "post-start"); }}};

// --- stop ----------------------------------------------------------------------------------------------------

bool ended_within(const ContextInfo& context, long seconds) {
  const UniqueFd init(static_cast<int>(::syscall(SYS_pidfd_open, context.init, 0)));
  if (!init) return true;
  pollfd ready{init.get(), POLLIN, 0};
  return ::poll(&ready, 1, static_cast<int>(seconds * 1000)) > 0;
}

std::string held_init(const Runtime& runtime, const std::string& name) {
  for (const auto& thing : Held(runtime.places, name).things())
    if (thing.kind == "init") return thing.what;
  return "plain";
}

void ask_to_end(Runtime& runtime, const ContextInfo& context, const std::string& name, long seconds) {
  const InitStyle style = init_style_named(held_init(runtime, name));
  if (has_shutdown(style)) {
    try {
      ExecOptions options;
      options.instead = [style] { return run_guest_shutdown(style); };
      options.limit_seconds = seconds;
      exec_in_context(runtime, context, options);
    } catch (const Error& error) {
      runtime.log.warning(error.what());
    }
  }
  if (style == InitStyle::sysv && ended_within(context, seconds)) return;
  ::kill(context.init, end_signal(style));
  ended_within(context, seconds);
}

volatile pid_t interrupted_child = 0;  // for the handler
void pass_on(int signal) { ::kill(interrupted_child, signal); }

std::optional<ContextInfo> context_of(Runtime& runtime, const std::string& name) {
  auto found = runtime.contexts->find_named(name);
  // An entry is there from the first moment; a start that was killed half way left no state file.
  if (found && ::access(fmt::format("{}/{}.ctx", runtime.places.run, name).c_str(), F_OK) != 0) return std::nullopt;
  return found;
}

}  // namespace

Runtime make_runtime(Log& log) {
  Places places = places_from_environment();
  auto contexts = make_contexts(places);
  return Runtime{std::move(places), std::move(contexts), Cgroups(), log};
}

std::optional<ContextInfo> running_context(Runtime& runtime, const std::string& name) {
  auto found = context_of(runtime, name);
  if (found || !Held(runtime.places, name).exists()) return found;
  try {
    const Lock lock(runtime.places, name);
    found = context_of(runtime, name);  // somebody may have been at it
    if (!found) give_all_back(runtime, name);
  } catch (const Error& error) {
    if (error.code() != Exit::locked) throw;
  }
  return found;
}

void start_vserver(Runtime& runtime, const std::string& name) {
  const ContainerSpec spec = read_spec(runtime.places, name);
  const Lock lock(runtime.places, name);
  if (context_of(runtime, name)) {
    runtime.log.info(fmt::format("vserver {} is already running", name));
    return;
  }
  Start start{runtime, spec, Held(runtime.places, name), {}, {}, {}, {}, {}, {}, {}};
  if (start.held.exists()) give_all_back(runtime, name);
  start.held.begin();
  try {
    for (const auto& step : kSteps) {
      runtime.log.verbose(step.name);
      step.take(start);
      die_if_told(step.name);
    }
  } catch (...) {
    give_all_back(runtime, name);
    throw;
  }
}

void stop_vserver(Runtime& runtime, const std::string& name) {
  check_vserver_name(name);
  const Lock lock(runtime.places, name);
  const auto context = context_of(runtime, name);
  if (context) {
    run_hook(runtime.places, name, "pre-stop");
    ok_or_throw(remove_reboot_dir(runtime.places, name));  // from here on its end is the host's will
    if (runtime.cgroups.frozen(name)) ok_or_throw(runtime.cgroups.freeze(name, false));
    ask_to_end(runtime, *context, name, read_host_settings(runtime.places).stop_seconds);
  }
  give_all_back(runtime, name);
  if (context) run_hook(runtime.places, name, "post-stop");
}

int exec_in_context(Runtime& runtime, const ContextInfo& context, const ExecOptions& options) {
  const auto fact = [&context](const char* key) {
    const auto it = context.facts.find(key);
    return it == context.facts.end() ? std::string() : it->second;
  };
  // The child alone enters, not this process: `stop` could not remove a cgroup that it is in.
  const auto v1_cgroups = runtime.cgroups.open_v1_processes(fact("CGROUP"));
  const UniqueFd cgroup = value_or_throw(runtime.cgroups.open_processes(fact("CGROUP")));
  Confinement confinement;
  confinement.keep = std::stoull("0" + fact("KEEP"), nullptr, 16);
  confinement.scope_abstract_sockets = fact("SCOPED") == "1";
  confinement.filter = value_or_throw(read_whole(filter_file(runtime.places, context.name)));
  const unsigned terminals = options.instead ? 0 : terminals_of_caller();
  int sockets[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) throw Error(problem_from_errno("make", "a socket pair").message);
  UniqueFd ours(sockets[0]), theirs(sockets[1]);
  const Child child = runtime.contexts->enter(context, cgroup.get(), [&]() -> int {
    for (const auto& v1 : v1_cgroups) ok_or_throw(write_all(v1.get(), "0", "the cgroup.procs of the vserver"));
    if (::chdir("/") != 0) return 125;
    ::setsid();  // else /dev/tty inside would be the terminal of who runs this
    if (options.instead) ok_or_throw(own_standard_files());
    if (terminals != 0) ok_or_throw(take_terminal(theirs.get(), terminals));
    const GuestUser user = value_or_throw(find_user(options.user));
    ok_or_throw(confine(confinement));
    ok_or_throw(become(user));
    if (options.instead) return options.instead();
    if (!options.login) return exec_command(options.command, guest_environment(user));
    return exec_command({user.shell, "-l"}, guest_environment(user));
  });
  theirs.reset();
  // The child is in a session of its own: what the terminal or anybody sends to this process is meant for it.
  interrupted_child = child.pid;
  for (const int signal : {SIGINT, SIGQUIT, SIGTERM, SIGHUP}) ::signal(signal, pass_on);
  const UniqueFd master = terminals != 0 ? receive_terminal(ours.get()) : UniqueFd();
  if (master) relay(master.get(), child.pidfd.get());
  pollfd ended{child.pidfd.get(), POLLIN, 0};
  if (options.limit_seconds > 0 && ::poll(&ended, 1, static_cast<int>(options.limit_seconds * 1000)) == 0) ::kill(child.pid, SIGKILL);
  const int status = wait_for(child);
  for (const int signal : {SIGINT, SIGQUIT, SIGTERM, SIGHUP}) ::signal(signal, SIG_DFL);
  return status;
}

int exec_in_vserver(Runtime& runtime, const std::string& name, const ExecOptions& options) {
  check_vserver_name(name);
  const auto context = running_context(runtime, name);
  if (!context) throw Error(fmt::format("vserver {} is not running", name));
  return exec_in_context(runtime, *context, options);
}

}  // namespace vs::isolation
