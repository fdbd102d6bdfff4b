#include "isolation/vserver/start_steps.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <map>

#include "core/crash_point.h"
#include "core/durable/durable_file.h"
#include "isolation/bpf/device_filter.h"
#include "isolation/confine/confine.h"
#include "isolation/confine/syscall_filter.h"
#include "isolation/context/mounts.h"
#include "isolation/context/reboot_place.h"
#include "isolation/context/user_namespace.h"
#include "isolation/network/address_programs.h"
#include "isolation/trees/project_quota.h"
#include "isolation/vserver/guest_init.h"
#include "isolation/vserver/hooks.h"

namespace vs::isolation {
namespace {

namespace fs = std::filesystem;

std::string held_address(const BindAddress& address) {
  return fmt::format("{}:{}/{}", address.device, address.text(), address.prefix);
}

// In words for status. Throws Error naming a promised guard that this host does not have.
std::string guards_in_force(Start& start) {
  const auto& config = start.config;
  std::string guards = "namespaces capabilities seccomp devices";
  if (config.user_namespace) guards += " user-namespace";
  if (config.has_own_addresses) guards += " addresses";
  if (config.private_network) return guards + " network";  // abstract sockets are of a network namespace, too
  if (std::find(config.waived.begin(), config.waived.end(), "abstract-sockets") != config.waived.end())
    return guards;
  start.abstract_sockets = abstract_socket_guard(start.runtime.places.run);
  if (start.abstract_sockets == AbstractSocketGuard::none)
    throw Error(
        "the guard abstract-sockets is not available: it needs bpf in the kernel's list of security modules "
        "(boot option lsm=...,bpf with all that /sys/kernel/security/lsm "
        "lists before it) or Landlock of Linux 6.12. Guests could connect to abstract unix sockets of this "
        "host; GUARD=\"!abstract-sockets\" starts the vserver all the same");
  return guards + " abstract-sockets";
}

void check_guards(Start& start) {
  if (!fs::is_directory(start.config.root))
    throw Error(
        fmt::format("the tree of vserver {} does not exist: {}", start.config.name, start.config.root));
  start.guards = guards_in_force(start);
}

// Part of its loopback, not of the host's network: added with --nodev, too.
void add_loopback6(Start& start) {
  const auto address = loopback6_of_vserver(start.config.name);
  start.held.add("address", held_address(address));
  const auto added = add_alias(address, "");
  if (added || added.error().code == EEXIST)
    start.loopback6 = address;
  else
    start.runtime.log.verbose(fmt::format("no IPv6 on the loopback of this host: {}", added.error().message));
}

void limit_space(Start& start) {
  for (const auto& other : configured(start.runtime.places))
    if (start.config.disk != 0 && other != start.config.name &&
        project_of_vserver(other) == project_of_vserver(start.config.name))
      throw Error(
          fmt::format("vservers {} and {} would be one project for DISK; one of them needs another name",
                      start.config.name, other));
  ok_or_throw(limit_disk(start.config.root, start.config.name, start.config.disk));
}

void plan_network(Start& start) {
  start.links = value_or_throw(plan_private_network(start.config.name, start.config.addresses));
  start.host_network.reset(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!start.host_network) throw Error(problem_from_errno("open", "/proc/self/ns/net").message);
}

void add_addresses(Start& start) {
  if (start.config.private_network) return plan_network(start);
  if (start.config.has_own_addresses) add_loopback6(start);
  if (!start.runtime.add_addresses) return;
  unsigned count = 0;
  for (const auto& address : start.config.addresses) {
    if (address.device.empty()) continue;
    // eth0:name, eth0:name1, ... as ifconfig shows them.
    const std::string label =
        fmt::format("{}:{}{}", address.device, start.config.name, count == 0 ? "" : fmt::to_string(count))
            .substr(0, IFNAMSIZ - 1);
    ++count;
    if (is_present(address)) continue;  // not ours to remove
    start.held.add("address", held_address(address));
    ok_or_throw(add_alias(address, label));
  }
}

void make_cgroup(Start& start) {
  const auto& config = start.config;
  // Before it is held: what is held is killed when the start fails.
  if (start.runtime.cgroups.populated(config.name))
    throw Error(fmt::format("a cgroup of that name has processes already: {}",
                            start.runtime.cgroups.path(config.name)));
  start.held.add("cgroup", config.name);
  ok_or_throw(start.runtime.cgroups.make(config.name, config.limits));
  const UniqueFd cgroup = value_or_throw(start.runtime.cgroups.open(config.name));
  ok_or_throw(allow_harmless_devices(cgroup.get()));
  if (start.abstract_sockets == AbstractSocketGuard::bpf)
    ok_or_throw(keep_abstract_sockets_in(cgroup.get(), start.runtime.places.run));
  start.cgroup = value_or_throw(start.runtime.cgroups.open_processes(config.name));
}

// For process 1, and in a file for commands that enter later.
void make_filter(Start& start) {
  start.filter = value_or_throw(make_guest_filter(
      {.shared_network = !start.config.private_network, .keep_projects = start.config.disk != 0}));
  const std::string file = start.runtime.places.filter_file(start.config.name);
  start.held.add("file", file);
  const UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) throw Error(problem_from_errno("create", file).message);
  ok_or_throw(write_all(fd.get(), start.filter, file));
}

void make_reboot_place(Start& start) {
  start.held.add("reboot", start.config.name);
  ok_or_throw(make_reboot_dir(start.runtime.places, start.config.name));
}

Confinement confinement_of(const Start& start) {
  const VserverConfig& config = start.config;
  Confinement confinement;
  confinement.keep = config.keep();
  confinement.filter = start.filter;
  confinement.scope_abstract_sockets = start.abstract_sockets == AbstractSocketGuard::landlock;
  if (config.user_namespace)
    return confinement;  // its process 1 cannot raise limits: complete_user_namespace() did
  confinement.nice = config.nice;
  confinement.rlimits = config.rlimits;
  return confinement;
}

Result set_names(const VserverConfig& config) {
  const std::string& host = config.hostname.empty() ? config.name : config.hostname;
  if (::sethostname(host.c_str(), host.size()) != 0) return problem_from_errno("set the host name", host);
  if (config.domainname.empty()) return Ok{};
  const std::string domain = config.domainname == "none" ? "" : config.domainname;
  if (::setdomainname(domain.c_str(), domain.size()) != 0)
    return problem_from_errno("set the domain name", domain);
  return Ok{};
}

// When the number that makes the loopback address is known, and before there is a process.
void tie(Start& start, unsigned number) {
  const auto& config = start.config;
  const UniqueFd cgroup = value_or_throw(start.runtime.cgroups.open(config.name));
  if (!config.has_own_addresses) {
    if (start.first_id != 0 && !config.private_network)
      ok_or_throw(allow_low_ports(cgroup.get(), start.first_id));
    return;
  }
  AddressRules rules{.addresses = config.addresses, .own_network = config.private_network};
  if (!config.private_network) {
    rules.loopback = loopback_of_context(number);
    rules.loopback6 = start.loopback6;
    rules.low_ports_for = start.first_id;
  }
  ok_or_throw(tie_to_addresses(cgroup.get(), rules));
}

MountPlan mount_plan_of(const Start& start) {
  MountPlan plan = start.config.mount_plan();
  plan.reboot = reboot_dir(start.runtime.places, start.config.name);
  return plan;
}

// For a guest with USERNS: what only the host's root can do, done before its process 1 is there.
void prepare_user_namespace(Start& start, unsigned number) {
  const auto& config = start.config;
  start.first_id = value_or_throw(first_id_of(number, config.first_id, start.runtime.contexts->list()));
  const UniqueFd mapping = value_or_throw(make_id_mapping(start.first_id));
  start.mounts = value_or_throw(
      prepare_guest_mounts(mount_plan_of(start), {mapping.get(), start.first_id}, config.private_network));
  ok_or_throw(start.runtime.cgroups.give_processes(config.name, start.first_id));
  ok_or_throw(give_reboot_dir(start.runtime.places, config.name, start.first_id));
}

Result make_network(Start& start) {
  const auto hold = [&start](const std::string& link) { start.held.add("link", link); };
  if (auto done = make_private_network(start.links, start.config.gateways, start.host_network.get(), hold);
      !done)
    return done;
  crash_point("network");
  return Ok{};
}

// The same, once it is there.
void complete_user_namespace(Start& start, const Child& child) {
  const auto& config = start.config;
  for (const auto& [resource, value] : config.rlimits) {
    const rlimit limit{value, value};
    if (::prlimit(child.pid, static_cast<__rlimit_resource>(resource), &limit, nullptr) != 0)
      throw Error(problem_from_errno("set", fmt::format("resource limit {}", resource)).message);
  }
  if (config.nice != 0 &&
      ::setpriority(PRIO_PROCESS, static_cast<id_t>(child.pid), static_cast<int>(config.nice)) != 0)
    throw Error(problem_from_errno("set", "S_NICE").message);
  for (const auto& v1 : start.runtime.cgroups.open_v1_processes(config.name))
    ok_or_throw(write_all(v1.get(), fmt::to_string(child.pid), "the cgroup.procs of the vserver"));
  if (!config.private_network) return;
  if (::setns(child.pidfd.get(), CLONE_NEWNET) != 0)
    throw Error(problem_from_errno("enter the network of", config.name).message);
  const Result made = make_network(start);
  if (::setns(start.host_network.get(), CLONE_NEWNET) != 0)
    throw Error(problem_from_errno("go back to", "the network of the host").message);
  ok_or_throw(made);
}

Result prepare_guest(Start& start, InitStyle& style) {
  const auto& config = start.config;
  ::setsid();
  if (!config.user_namespace) {
    if (config.private_network)
      if (auto done = make_network(start); !done) return done;
    if (auto done = start.runtime.cgroups.enter(config.name, false); !done) return done;
    auto mounts = prepare_guest_mounts(mount_plan_of(start), {}, config.private_network);
    if (!mounts) return mounts.error();
    start.mounts = std::move(*mounts);
  }
  if (auto done = set_names(config); !done) return done;
  if (auto done = enter_guest_root(mount_plan_of(start), std::move(*start.mounts)); !done) return done;
  style = detect_init(config);
  if (auto done = own_standard_files(); !done) return done;
  return confine(confinement_of(start));
}

// What process 1 of the guest tells the starting command through a pipe: this byte, and then a text up to the
// end.
enum class Report : char {
  ready = '+',  // the style of the guest's init
  failed = '-'  // what failed
};

// Process 1 of the guest. `report` is closed by exec, or before our own init goes on.
int guest_body(Start& start, int report) {
  InitStyle style = InitStyle::plain;
  Result prepared = Ok{};
  try {
    prepared = prepare_guest(start, style);
  } catch (const Error& error) {
    prepared = Problem{0, error.what()};
  }
  const std::string message =
      prepared ? fmt::format("{}{}", static_cast<char>(Report::ready), init_style_name(style))
               : static_cast<char>(Report::failed) + prepared.error().message;
  if (::write(report, message.data(), message.size()) < 0 || !prepared) return 125;
  if (style == InitStyle::rc || style == InitStyle::plain) ::syscall(SYS_close_range, 3, ~0U, 0);
  return run_guest_init(style);
}

// What holds in the context: for commands that enter it later, and for status.
std::map<std::string, std::string> facts_of(const Start& start) {
  const auto& config = start.config;
  std::string shown;
  for (const auto& address : config.addresses) shown += (shown.empty() ? "" : " ") + address.text();
  return {{"CGROUP", config.name},
          {"GUARDS", start.guards},
          {"KEEP", fmt::format("{:x}", config.keep())},
          {"STARTED", fmt::to_string(std::time(nullptr))},
          {"SCOPED", confinement_of(start).scope_abstract_sockets ? "1" : "0"},
          {"ADDRESSES", config.has_own_addresses ? shown
                        : config.private_network ? "none"
                                                 : "all"}};
}

CreateOptions create_options(Start& start) {
  CreateOptions options;
  options.number = start.config.context;
  options.name = start.config.name;
  options.cgroup = start.cgroup.get();
  options.network = start.config.private_network;
  options.facts = facts_of(start);
  options.prepare = [&start](unsigned number) {
    if (start.config.user_namespace) prepare_user_namespace(start, number);
    tie(start, number);
    return start.first_id;
  };
  if (start.config.user_namespace)
    options.complete = [&start](const Child& child) { complete_user_namespace(start, child); };
  return options;
}

// Waits until process 1 has reported; gives the style of its init. Throws Error with what failed in it.
std::string await_report(int pipe, const std::string& name) {
  std::string message;
  char buffer[4096];
  for (ssize_t got; (got = ::read(pipe, buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR);)
    if (got > 0) message.append(buffer, static_cast<size_t>(got));
  if (message.empty())
    throw Error(fmt::format("vserver {} could not be started: its first process ended", name));
  if (message[0] == static_cast<char>(Report::failed))
    throw Error(fmt::format("vserver {} could not be started: {}", name, message.substr(1)));
  return message.substr(1);
}

void spawn_context(Start& start) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) throw Error(problem_from_errno("make", "a pipe").message);
  UniqueFd read_end(pipe[0]), write_end(pipe[1]);
  const Child child = start.runtime.contexts->create(
      create_options(start), [&](unsigned) { return guest_body(start, write_end.get()); }, start.context);
  start.mounts.reset();
  start.held.add("context", fmt::to_string(start.context.number));
  write_end.reset();
  const std::string init = await_report(read_end.get(), start.config.name);
  start.context.facts["INIT"] = init;
  start.held.add("init", init);
}

void write_state(Start& start) {
  const std::string file = fmt::format("{}/{}.ctx", start.runtime.places.run, start.config.name);
  start.held.add("file", file);
  ok_or_throw(write_durably(
      file, fmt::format("S_CONTEXT={}\nS_PROFILE={}\n", start.context.number, start.config.profile), 0644));
}

constexpr Step kSteps[] = {
    {"pre-start", [](Start& start) { run_hook(start.runtime.places, start.config.name, "pre-start"); }},
    {"guards", check_guards},
    {"disk", limit_space},
    {"addresses", add_addresses},
    {"cgroup", make_cgroup},
    {"filter", make_filter},
    {"reboot", make_reboot_place},
    {"context", spawn_context},
    {"state", write_state},
    {"post-start", [](Start& start) { run_hook(start.runtime.places, start.config.name, "post-start"); }}};

}  // namespace

std::span<const Step> start_steps() {
  return kSteps;
}

}  // namespace vs::isolation
