#include "unify/unify.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <map>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "unify/plan/plan_maker.h"

namespace vs::unify {

namespace {

// Contents of files that are gone, or that no rule lets in any more, would stay in the index for ever.
// Looking for them is cheap, but not free: only where they are a good part, and only after all guests of the
// pool were looked at.
void forget_unseen(Session& session, const GuestFiles& files) {
  constexpr size_t kFew = 1000;
  const size_t rows = files.table.rows().size();
  if (!session.options.guests.empty() || session.context.cancel.stop() ||
      session.index->contents() <= rows + rows / 4 + kFew)
    return;
  std::map<uint64_t, std::vector<uint64_t>> seen;
  for (const uint64_t dev : files.devices) seen[dev];
  for (const auto& row : files.table.rows()) seen[files.devices[files.table.guest(row)]].push_back(row.ino);
  size_t forgotten = 0;
  for (auto& [dev, inos] : seen) forgotten += session.index->forget_others(dev, std::move(inos));
  session.context.log.verbose(
      fmt::format("the index forgot {} files that are not there any more", forgotten));
}

}  // namespace

// The whole run. Nothing in a guest is changed before pass 9; from then on the journal can finish or undo it.
RunSummary run_unify(Session& session, LinkPlan* plan_made) {
  // Passes 1 and 2, inventory and recover, were done when the session was opened: every later pass may rely
  // on an empty staging directory and on every master being sealed.
  GuestFiles files = look_at_guests(session);  // 3 scan, 4 package knowledge, 5 eligibility
  LinkPlan plan = plan_links(session, files);  // 6 candidates, 7 verify, 8 plan
  RunSummary summary = summarize(session, "run", files);
  if (!session.options.dry_run) {
    const JournalRun run = session.journal_run("run", new_run_id());
    summary.run = run.run;
    const PlannedFiles planned{session.guests, plan, files.table};
    add_applied(summary, apply_links(session, planned, files.devices, run, session.rules.ignore_mtime),
                session);  // 9 apply
  }
  if (!session.options.dry_run) forget_unseen(session, files);
  if (plan_made != nullptr) *plan_made = std::move(plan);
  return summary;  // 10 report: the command prints it and adds it to the history
}

GuestFiles look_at_guests(Session& session) {
  GuestFiles files;
  {
    // In scope all, too: configuration files are told by the package databases.
    const auto timed = session.context.timer.time("packages");
    load_guest_packages(session.guests, session.cache_dir(), files, session.context);
  }
  const auto timed = session.context.timer.time("scan");
  scan_guests(session.guests, session.rules, session.masters, files, session.context);
  return files;
}

LinkPlan plan_links(Session& session, GuestFiles& files) {
  CandidateSet candidates;
  {
    const auto timed = session.context.timer.time("candidates");
    candidates = find_candidates(files, session.rules, session.masters);
  }
  const VerifyInput input{session.guests, files.table,     candidates,          files.packages,
                          files.devices,  session.masters, session.store.get(), session.rules};
  std::vector<GroupVerdict> verdicts;
  {
    const auto timed = session.context.timer.time("verify");
    verdicts = verify_candidates(input, *session.index, session.context);
  }
  const auto timed = session.context.timer.time("plan");
  const bool writing = session.store != nullptr && !session.cache_dir().empty();
  return make_plan(input, std::move(verdicts), !session.guard.guard->shares_inodes(),
                   writing ? session.index.get() : nullptr, files.counts);
}

ApplyResult apply_links(Session& session, const PlannedFiles& planned, const std::vector<uint64_t>& devices,
                        const JournalRun& run, bool ignore_mtime) {
  const auto timed = session.context.timer.time("apply");
  if (planned.plan.groups.empty()) {
    ApplyResult nothing;
    nothing.skipped.resize(planned.guests.size());
    return nothing;
  }
  const ApplyInput input{planned,
                         *session.store,
                         *session.guard.guard,
                         session.masters,
                         *session.index,
                         run,
                         session.options.state,
                         devices,
                         ignore_mtime};
  if (!session.guard.guard->shares_inodes()) return apply_reflinks(input, session.context);
  ApplyResult applied = apply_plan(input, session.context);
  session.release_spoiled();
  return applied;
}

RunSummary summarize(const Session& session, const std::string& verb, const GuestFiles& files) {
  RunSummary summary;
  const GuestCounts total = files.total();
  summary.verb = verb;
  summary.guests = session.guests.size();
  summary.files_seen = total.regular_files;
  summary.files_considered = total.considered;
  summary.files_unified_before = total.unified;
  summary.skipped = total.skipped;
  summary.masters = session.masters.size();
  summary.rows = files.table.rows().size();
  summary.table_bytes = files.table.memory_bytes();
  summary.bytes_shared = bytes_of_masters(session);
  return summary;
}

uint64_t bytes_of_masters(const Session& session) {
  const uint64_t block = session.pool.block_size;
  uint64_t sum = 0;
  for (const auto& master : session.masters.records()) sum += (master.size + block - 1) / block * block;
  return sum;
}

void add_applied(RunSummary& summary, const ApplyResult& applied, const Session& session) {
  summary.masters = session.masters.size();
  summary.bytes_shared = bytes_of_masters(session);
  summary.files_linked += applied.files_linked;
  summary.bytes_saved += applied.bytes_saved;
  summary.put_back += applied.put_back;
  summary.classes_restored += applied.classes_restored;
  summary.leases_broken += applied.leases_broken;
  for (const auto& counts : applied.skipped)
    for (size_t i = 0; i < kReasons; ++i) summary.skipped[i] += counts[i];
}

namespace {

// Leases and old inodes of a batch are held open at once.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= 65536) return;
  limit.rlim_max = std::max<rlim_t>(limit.rlim_max, 65536);
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) == 0) return;
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::string machine_id() {
  auto text = read_whole("/etc/machine-id", 4096);
  if (text && text->size() >= 32) return text->substr(0, 32);
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return std::string("host ") + name;
}

void keep_named(std::vector<Guest>& guests, const std::vector<std::string>& names) {
  for (const auto& name : names)
    if (std::none_of(guests.begin(), guests.end(), [&](const Guest& guest) { return guest.name == name; }))
      throw Error("no vserver is named '" + escaped(name) + "'", Exit::usage);
  if (names.empty()) return;
  std::erase_if(guests, [&](const Guest& guest) {
    return std::find(names.begin(), names.end(), guest.name) == names.end();
  });
}

}  // namespace

Session::Session(const Options& o, Access access, RunContext& c)
    : options(o), context(c), rules(rules_of(o)) {
  if (access != Access::looking && ::geteuid() != 0)
    throw Error("this changes trees of other users and must be run as root");
  raise_descriptor_limit();
  std::vector<std::string> warnings;
  guests = find_guests(inventory_of(options), warnings);
  for (const auto& warning : warnings) context.log.object_failed(warning);
  keep_named(guests, options.guests);
  pool = find_pool(guests);
  store_path = options.store.empty() ? Store::default_path(pool) : options.store;
  const bool writing = access == Access::writing ||
                       (access == Access::changing &&
                        ::faccessat(AT_FDCWD, store_path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0);
  // The guard is chosen before anything is made: a filesystem that cannot be protected is left as it is.
  guard = choose_guard(options.guard, scratch_dir(store_path).get(), pool.one_device, !writing, pool.top);
  if (writing) {
    auto state = value_or_throw(open_private_dir(options.state, true), Exit::usage);
    state_lock_.emplace(state.get(), "lock", options.state + "/lock");
  }
  UniqueFd store_parent;
  const std::string parent_path(split_path(store_path).first);
  view = look_through_private_mount(pool, guests, store_parent, parent_path.empty() ? "/" : parent_path);
  if (!view) context.log.debug("no private view of the mount; files are opened in two steps");
  store = Store::open(store_path, pool, guests, writing, std::move(store_parent));
  if (writing) store_lock_.emplace(store->lock());
  index = std::make_unique<Index>(options.state, !writing);
  masters = MasterTable::load(store.get(), *index);
  if (writing) {
    value_or_throw(open_private_dir(cache_dir(), true));
    const auto timed = context.timer.time("recover");
    recovered =
        recover_store(*store, *guard.guard, view ? &*view : nullptr, options.state, masters, *index, context);
    if (recovered.unfinished != 0)
      throw Error("the interrupted run " + recovered.run +
                  " could not be recovered fully; see above, then run vunify recover");
    release_spoiled();
  } else if (needs_recovery(store.get(), options.state)) {
    context.log.warning(
        "an earlier run was interrupted; vunify recover (or the next run) will make it whole");
  }
}

Session::~Session() = default;

std::string Session::cache_dir() const {
  return state_lock_ ? options.state + "/packages" : "";
}

uint32_t Session::guest_number(const std::string& name) const {
  for (uint32_t i = 0; i < guests.size(); ++i)
    if (guests[i].name == name) return i;
  throw Error("no vserver is named '" + escaped(name) + "'", Exit::usage);
}

JournalRun Session::journal_run(const std::string& verb, const std::string& run) const {
  JournalRun journal{run, verb, store->path(), store->id(), {}};
  for (const auto& guest : guests) journal.trees.push_back({guest.name, guest.root.path()});
  return journal;
}

ReleaseInput Session::release_input(const JournalRun& run) {
  return {guests, *store, *guard.guard, masters, *index, run, options.state};
}

void Session::release_spoiled() {
  // Releasing opens windows, too, so a guest may spoil it again; it runs out of names.
  constexpr int kRounds = 3;
  for (int round = 0; round < kRounds; ++round) {
    const auto spoiled = spoiled_masters(*store, masters);
    if (spoiled.empty()) return;
    auto names = find_names_of_masters(guests, masters, options.state, context);
    std::erase_if(names, [&](const NameOfMaster& name) {
      return !std::binary_search(spoiled.begin(), spoiled.end(), name.master);
    });
    if (names.empty()) return;
    context.log.object_failed(
        fmt::format("{} shared files were changed in owner, mode, time or attributes by a guest; giving "
                    "their {} names private copies",
                    spoiled.size(), names.size()));
    const JournalRun run = journal_run("release", new_run_id());
    release_names(release_input(run), std::move(names), context);
  }
}

PlanHeader header_for(const Session& session) {
  PlanHeader header;
  header.host = machine_id();
  header.pool = session.pool.top;
  header.dev = session.pool.dev;
  header.store_id = session.store == nullptr ? "" : session.store->id();
  header.guard = session.guard.guard->name();
  header.scope = session.rules.scope == Scope::all ? "all" : "packages";
  header.ignore_mtime = session.rules.ignore_mtime;
  for (const auto& guest : session.guests)
    header.trees.push_back({guest.name, guest.root.path(), guest.root.stat().dev, guest.root.stat().ino});
  return header;
}

}  // namespace vs::unify
