#include "unify/opened_pool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "unify/change/seal_check.h"

namespace vs::unify {
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

void require_root() {
  if (::geteuid() != 0) throw Error("this changes trees of other users and must be run as root");
}

bool PoolInventory::has_store() const {
  return ::faccessat(AT_FDCWD, store_path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

PoolInventory take_inventory(const Options& options, RunContext& context) {
  PoolInventory found{options, rules_of(options), {}, {}, {}};
  raise_descriptor_limit();
  std::vector<std::string> warnings;
  found.guests = find_guests(inventory_of(options), warnings);
  for (const auto& warning : warnings) context.log.object_failed(warning);
  keep_named(found.guests, options.guests);
  found.pool = find_pool(found.guests);
  found.store_path = options.store.empty() ? Store::default_path(found.pool) : options.store;
  return found;
}

GuestNumber guest_number(Guests guests, const std::string& name) {
  for (GuestNumber i; i < guests.next_number(); ++i)
    if (guests[i].name == name) return i;
  throw Error("no vserver is named '" + escaped(name) + "'", Exit::usage);
}

void OpenedPool::open(bool writing, RunContext& context) {
  const std::string& state = options().state;
  // The guard is chosen before anything is made: a filesystem that cannot be protected is left as it is.
  guard_ =
      choose_guard(options().guard, scratch_dir(store_path()).get(), pool().one_device, !writing, pool().top);
  if (writing) {
    auto dir = value_or_throw(open_private_dir(state, true), Exit::usage);
    state_lock_.emplace(dir.get(), "lock", state + "/lock");
  }
  found_.rules.bytes_only = !guard().shares_inodes();
  UniqueFd store_parent;
  const std::string parent_path(split_path(store_path()).first);
  view_ = look_through_private_mount(pool(), found_.guests, store_parent,
                                     parent_path.empty() ? "/" : parent_path);
  if (!view_) context.log.debug("no private view of the mount; files are opened in two steps");
  store_ = Store::open(store_path(), pool(), guests(), writing, std::move(store_parent));
  if (writing) store_lock_.emplace(store_->lock());
  index_ = std::make_unique<Index>(state, !writing, [&](const std::string& damage) {
    context.log.warning(damage + "; what is lost of it is found again in the store and by reading");
  });
  masters_ = MasterTable::load(store_.get(), *index_);
}

OpenedPool look_at_pool(PoolInventory found, RunContext& context) {
  OpenedPool pool(std::move(found));
  pool.open(false, context);
  if (needs_recovery(pool.store(), pool.options().state))
    context.log.warning(
        "an earlier run was interrupted; vunify recover (or the next run) will make it whole");
  return pool;
}

LockedPool lock_pool(PoolInventory found, RunContext& context) {
  require_root();
  LockedPool pool(std::move(found));
  pool.open(true, context);
  value_or_throw(open_private_dir(pool.package_cache(), true));
  return pool;
}

RecoveryResult make_whole(LockedPool& pool, RunContext& context) {
  const auto timed = context.timer.time("recover");
  RecoveryResult recovered = recover_store(pool.store(), pool.guard(), pool.view(), pool.options().state,
                                           pool.masters(), pool.index(), context);
  if (recovered.unfinished != 0)
    throw Error((recovered.run ? "the interrupted run " + *recovered.run : "what an interrupted run left") +
                " could not be recovered fully; see above, then run vunify recover");
  const SealsFound seals = look_at_seals(pool.store(), pool.guard(), pool.masters(), pool.index(), context);
  recovered.needed = recovered.needed || seals.sealed_again + seals.retired != 0;
  release_spoiled(pool, context);
  return recovered;
}

LockedPool open_whole_pool(const Options& options, RunContext& context) {
  require_root();
  LockedPool pool = lock_pool(take_inventory(options, context), context);
  make_whole(pool, context);
  return pool;
}

JournalRun LockedPool::journal_run(const std::string& verb, const std::string& run) const {
  JournalRun journal{run, verb, store().path(), store().id(), {}};
  for (const auto& guest : guests()) journal.trees.push_back({guest.name, guest.root.path()});
  return journal;
}

ReleaseInput LockedPool::release_input(const JournalRun& run) {
  return {guests(), store(), guard(), masters(), index(), run, options().state};
}

void release_spoiled(LockedPool& pool, RunContext& context) {
  // Releasing opens windows, too, so a guest may spoil a master again; it runs out of names.
  constexpr int kRounds = 3;
  for (int round = 0; round < kRounds; ++round) {
    const auto spoiled = spoiled_masters(pool.store(), pool.masters());
    if (spoiled.empty()) return;
    auto names = find_names_of_masters(pool.guests(), pool.masters(), pool.options().state, context);
    std::erase_if(names, [&](const NameOfMaster& name) {
      return !std::binary_search(spoiled.begin(), spoiled.end(), name.master);
    });
    if (names.empty()) return;
    context.log.object_failed(
        fmt::format("{} shared files were changed in content, owner, mode, time or attributes by a guest; "
                    "giving their {} names private copies",
                    spoiled.size(), names.size()));
    const JournalRun run = pool.journal_run("release", new_run_id());
    release_names(pool.release_input(run), std::move(names), context);
  }
}

PlanHeader header_for(const OpenedPool& pool) {
  PlanHeader header;
  header.host = machine_id();
  header.pool = pool.pool().top;
  header.dev = pool.pool().dev;
  if (pool.store() != nullptr) header.store_id = pool.store()->id();
  header.guard = pool.guard().name();
  header.scope = pool.rules().scope == Scope::all ? "all" : "packages";
  header.ignore_mtime = pool.rules().ignore_mtime;
  for (const auto& guest : pool.guests())
    header.trees.push_back({guest.name, guest.root.path(), guest.root.stat().dev, guest.root.stat().ino});
  return header;
}

}  // namespace vs::unify
