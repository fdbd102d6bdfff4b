#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/escape.h"
#include "core/size_text.h"
#include "unify/cli/command.h"
#include "unify/cli/each_pool.h"
#include "unify/holds.h"
#include "unify/report/savings.h"

namespace vs::unify {
namespace {

// What is odd about the package databases: a few of each guest say what kind it is, and all are counted.
constexpr size_t kOdditiesNamed = 5;

nlohmann::ordered_json oddities_json(Guests guests, const GuestDatabases& databases) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (GuestNumber i; i < guests.next_number(); ++i) {
    const auto& troubles = databases.troubles[i];
    nlohmann::ordered_json named = nlohmann::ordered_json::array();
    for (size_t t = 0; t < std::min(troubles.size(), kOdditiesNamed); ++t)
      named.push_back(troubles[t].file + ": " + troubles[t].detail);
    if (!troubles.empty())
      all.push_back({{"guest", guests[i].name}, {"count", troubles.size()}, {"first", named}});
  }
  return all;
}

void print_oddities(Guests guests, const GuestDatabases& databases, Command& command) {
  for (GuestNumber i; i < guests.next_number(); ++i) {
    const auto& troubles = databases.troubles[i];
    for (size_t t = 0; t < std::min(troubles.size(), kOdditiesNamed); ++t)
      command.print(fmt::format("odd       {}: package database {}: {}", guests[i].name, troubles[t].file,
                                troubles[t].detail));
    if (troubles.size() > kOdditiesNamed)
      command.print(fmt::format("          {}: {} more", guests[i].name, troubles.size() - kOdditiesNamed));
  }
}

// What there is to show of a pool.
struct PoolStatus {
  const OpenedPool pool;
  const GuestDatabases databases;
  const std::vector<HistoryEntry> nights;
  const std::vector<std::string> held;
  const bool unfinished, locked;
};

PoolStatus look(const Options& options, RunContext& context) {
  OpenedPool pool = look_at_pool(take_inventory(options, context), context);
  GuestDatabases databases = read_guest_databases(pool.guests(), std::nullopt, context);
  auto nights = runs_on_pool(read_history(options.state + "/history.jsonl"), escaped(pool.pool().top));
  const bool unfinished = needs_recovery(pool.store(), options.state);
  const bool locked = pool.store() != nullptr && pool.store()->is_locked();
  return {std::move(pool), std::move(databases), std::move(nights), held_guests(options.state), unfinished,
          locked};
}

void print_json(const PoolStatus& status, Command& command) {
  const OpenedPool& pool = status.pool;
  nlohmann::ordered_json guards = nlohmann::ordered_json::array();
  for (const auto& verdict : pool.guards_considered())
    guards.push_back({{"name", verdict.name}, {"usable", verdict.usable}, {"why", verdict.why}});
  command.line({{"type", "status"},
                {"pool", escaped(pool.pool().top)},
                {"filesystem", pool.pool().filesystem},
                {"store", escaped(pool.store_path())},
                {"store_exists", pool.store() != nullptr},
                {"guard", pool.guard().name()},
                {"guards", guards},
                {"guests", pool.guests().size()},
                {"masters", pool.masters().size()},
                {"unfinished_run", status.unfinished},
                {"locked", status.locked},
                {"held", status.held},
                {"oddities", oddities_json(pool.guests(), status.databases)},
                {"last_run", status.nights.empty() ? "" : status.nights.back().run}});
}

void print_text(const PoolStatus& status, const std::string& state_dir, Command& command) {
  const OpenedPool& pool = status.pool;
  const auto& nights = status.nights;
  command.print(fmt::format("pool      {} ({}), {} vservers", escaped(pool.pool().top),
                            pool.pool().filesystem, pool.guests().size()));
  command.print(fmt::format(
      "store     {}{}", escaped(pool.store_path()),
      pool.store() == nullptr ? " (not made yet)" : fmt::format(", {} masters", pool.masters().size())));
  command.print(fmt::format("state     {}", escaped(state_dir)));
  command.print(fmt::format("guard     {}", pool.guard().name()));
  for (const auto& verdict : pool.guards_considered())
    command.print(fmt::format("          {}: {}{}", verdict.name,
                              verdict.usable ? "usable, " : "not usable here: ", verdict.why));
  for (const auto& guest : status.held)
    command.print(fmt::format("held      {}: nothing of it is shared (vunify release --unhold {})",
                              escaped(guest), escaped(guest)));
  command.print(fmt::format("running   {}", status.locked ? "yes, the store is locked by a run" : "no"));
  command.print(
      fmt::format("unfinished {}", status.unfinished ? "yes: vunify recover makes it whole" : "no"));
  print_oddities(pool.guests(), status.databases, command);
  if (nights.empty()) command.print("last run  none recorded");
  for (size_t i = nights.size() > 5 ? nights.size() - 5 : 0; i < nights.size(); ++i)
    command.print(fmt::format("run       {}  {} files linked, {} saved, {:.1f} s", nights[i].run,
                              nights[i].files_linked, size_text(nights[i].bytes_saved), nights[i].seconds));
}

void show_pool(const Options& options, Command& command) {
  const PoolStatus status = look(options, command.context());
  options.json ? print_json(status, command) : print_text(status, options.state, command);
}

Exit status(const Options& options) {
  Command command(options);
  for (const auto& pool : each_pool(options)) show_pool(pool, command);
  return command.exit_code();
}

}  // namespace

void add_status(CommandLine& line) {
  static Options options;
  Verb verb =
      line.verb("status", "show pool, store, guard in force and why, odd package databases, last runs");
  add_shared_options(verb, options);
  verb.flag("--each-pool", options.each_pool,
            "where vservers are on several filesystems: one after the other");
  verb.footer(exit_codes("0 done, 1 failed, 2 usage", "vunify status"));
  verb.action([] { return status(options); });
}

}  // namespace vs::unify
