// chcontext: a command in a new security context, or in a given one.
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/escape.h"
#include "isolation/confine/capabilities.h"
#include "isolation/confine/syscall_filter.h"
#include "isolation/context/arguments.h"
#include "isolation/context/cgroup.h"
#include "isolation/context/context.h"
#include "isolation/context/init.h"
#include "isolation/context/mounts.h"
#include "isolation/context/places.h"
#include "isolation/context/spectator.h"

namespace {

using namespace vs;
using namespace vs::isolation;

struct Options {
  std::vector<std::string> contexts, capabilities, flags;
  std::string hostname, domainname;
  bool secure = false, disconnect = false, silent = false;
  bool has(const char* flag) const { return std::find(flags.begin(), flags.end(), flag) != flags.end(); }
};

constexpr const char* kFlags[] = {"lock", "sched", "nproc", "private", "fakeinit", "hideinfo", "ulimit"};

void check_flags(Options& options) {
  std::vector<std::string> words;
  for (const auto& given : options.flags)
    for (size_t at = 0; at <= given.size();) {
      const size_t comma = std::min(given.find(',', at), given.size());
      words.push_back(given.substr(at, comma - at));
      at = comma + 1;
    }
  for (const auto& word : words)
    if (std::find_if(std::begin(kFlags), std::end(kFlags), [&](const char* one) { return word == one; }) ==
        std::end(kFlags))
      throw Error(fmt::format("'{}' is no flag: lock, sched, nproc, private, fakeinit, hideinfo, ulimit",
                              escaped(word)),
                  Exit::usage);
  options.flags = words;
}

// nproc and ulimit: what this process may use at most, for all of the context together. The other limits go
// on holding for each process.
Limits limits_of_context(const Options& options) {
  const auto limit_of = [](int resource) {
    rlimit limit{};
    return ::getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) == 0 &&
                   limit.rlim_cur != RLIM_INFINITY
               ? limit.rlim_cur
               : 0;
  };
  Limits limits;
  if (options.has("nproc") || options.has("ulimit")) limits.pids = limit_of(RLIMIT_NPROC);
  if (options.has("ulimit")) limits.memory = limit_of(RLIMIT_AS);
  if (options.has("sched")) limits.share = true;
  return limits;
}

unsigned wanted_number(const Options& options) {
  if (options.contexts.empty()) return 0;
  if (options.contexts.size() > 1)
    throw Error("several contexts at once need a kernel with contexts", Exit::usage);
  const std::string& text = options.contexts[0];
  if (text.empty() || text.size() > 5 || text.find_first_not_of("0123456789") != std::string::npos ||
      std::stoul(text) > kLastNumber || std::stoul(text) == kHost)
    throw Error(fmt::format("--ctx {}: expected a number from 1 to {}", escaped(text), kLastNumber),
                Exit::usage);
  return static_cast<unsigned>(std::stoul(text));
}

void say(const Options& options, const std::string& text) {
  if (options.silent) return;
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

void set_names(const Options& options) {
  if (!options.hostname.empty()) {
    if (::sethostname(options.hostname.c_str(), options.hostname.size()) != 0)
      throw Error(problem_from_errno("set the host name", options.hostname).message);
    say(options, "Host name is now " + options.hostname);
  }
  if (!options.domainname.empty()) {
    const std::string domain = options.domainname == "none" ? "" : options.domainname;
    if (::setdomainname(domain.c_str(), domain.size()) != 0)
      throw Error(problem_from_errno("set the domain name", domain).message);
    say(options, "Domain name is now " + options.domainname);
  }
}

CapabilitySet kept(const Options& options) {
  return apply_changes(options.secure ? secure_capabilities() : all_capabilities(), options.capabilities);
}

void lower(const Options& options, bool ordinary_user) {
  if (options.has("lock")) ok_or_throw(filter_namespaces());
  // An ordinary user has them in his own user namespace only, where they reach nothing; and goes on as what
  // he was.
  ok_or_throw(keep_only(ordinary_user ? 0 : kept(options)));
}

int inside_new(const Options& options, const std::vector<std::string>& command, unsigned number,
               bool ordinary_user) {
  if (options.disconnect) ::setsid();
  ok_or_throw(fresh_proc());
  if (options.has("hideinfo")) ok_or_throw(hide_register(places_from_environment().run));
  set_names(options);
  say(options, fmt::format("New security context is {}", number));
  lower(options, ordinary_user);
  if (options.has("fakeinit")) return exec_program("chcontext", command);
  return run_init(InitEnds::with_command, [&] { return exec_program("chcontext", command); });
}

int wait_unless_disconnected(const Child& child, const Options& options) {
  return options.disconnect ? 0 : wait_and_pass_on(child);
}

int create(const Options& options, const std::vector<std::string>& command, Contexts& contexts,
           unsigned number) {
  CreateOptions create;
  create.number = number;
  create.user = ::geteuid() != 0;
  if (create.user && number != 0) throw Error("only root may choose the number of a context");
  if (options.has("private")) create.facts["FLAGS"] = "private";
  UniqueFd cgroup;
  if (options.has("nproc") || options.has("ulimit") || options.has("sched")) {
    if (create.user) throw Error("flags nproc, ulimit and sched: only root can limit a context as a whole");
    const Cgroups cgroups;
    cgroups.sweep(".chcontext.");
    const Limits limits = limits_of_context(options);
    const std::string name = fmt::format(".chcontext.{}", ::getpid());
    ok_or_throw(cgroups.make(name, limits));
    ok_or_throw(cgroups.enter(name, true));  // and the child with us
  }
  ContextInfo created;
  const Child child = contexts.create(
      create, [&](unsigned given) { return inside_new(options, command, given, create.user); }, created);
  const int status = wait_unless_disconnected(child, options);
  if (!options.disconnect) contexts.find(created.number);  // finds it dead and removes its entry
  return status;
}

int watch(const Options& options, const std::vector<std::string>& command, Contexts& contexts) {
  if (::geteuid() != 0) throw Error("only root may be the spectator");
  const auto first = [&] {
    set_names(options);
    say(options, fmt::format("New security context is {}", kSpectator));
  };
  const Child child = start_spectator(contexts, kept(options), first, [&] {
    return run_init(InitEnds::with_command, [&] { return exec_program("chcontext", command); });
  });
  return wait_unless_disconnected(child, options);
}

int enter(const Options& options, const std::vector<std::string>& command, Contexts& contexts,
          const ContextInfo& existing) {
  if (::geteuid() != 0) throw Error("only root may enter a context");
  if (existing.facts.contains("FLAGS") && existing.facts.at("FLAGS") == "private")
    throw Error(fmt::format("context {} is private: nobody enters it", existing.number));
  if (!existing.name.empty())
    throw Error(fmt::format("context {} is vserver {}; enter it by: vserver {} exec COMMAND", existing.number,
                            existing.name, existing.name));
  const Child child = contexts.enter(existing, -1, [&] {
    set_names(options);
    say(options, fmt::format("New security context is {}", existing.number));
    lower(options, false);
    return exec_program("chcontext", command);
  });
  return wait_unless_disconnected(child, options);
}

int run(int argc, char** argv) {
  Options options;
  Arguments arguments("chcontext", "[OPTION...] COMMAND [WORD...]",
                      "Runs a command in a new security context: it sees and reaches only processes of its "
                      "own. Root may give the number of one: that is entered, or made.\n"
                      "Context 1 sees all processes of all contexts and can signal none.",
                      "Exit codes: the command's own; 125 when it could not be tried, 126 when it could not "
                      "be run, 127 when it was not found.\n"
                      "Example:    chcontext --secure --hostname lab /bin/sh");
  arguments.list("--ctx", "N", options.contexts, "this context");
  arguments.list("--cap", "NAME", options.capabilities, "keep (NAME) or take (!NAME) a capability");
  arguments.flag("--secure", options.secure, "keep only capabilities that do not reach out of the context");
  arguments.list("--flag", "FLAG[,FLAG...]", options.flags,
                 "lock, sched, nproc, private, fakeinit, hideinfo, ulimit; see chcontext(8)");
  arguments.value("--hostname", "NAME", options.hostname, "host name in the context");
  arguments.value("--domainname", "NAME", options.domainname,
                  "NIS domain name in the context; none for an empty one");
  arguments.flag("--disconnect", options.disconnect, "in the background, in a session of its own");
  arguments.flag("--silent", options.silent, "do not print the number");
  const auto command = arguments.parse(argc, argv);
  if (command.empty()) throw Error("expected a command; see chcontext --help", Exit::usage);
  check_flags(options);
  const unsigned number = wanted_number(options);
  kept(options);  // names that are none are told before anything is done
  const auto contexts = make_contexts(places_from_environment());
  if (number == kSpectator) return watch(options, command, *contexts);
  const auto existing = number == 0 ? std::optional<ContextInfo>() : contexts->find(number);
  return existing ? enter(options, command, *contexts, *existing)
                  : create(options, command, *contexts, number);
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("chcontext", 125, [&] { return run(argc, argv); });
}
