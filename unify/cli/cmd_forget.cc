#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "core/escape.h"
#include "core/guest_freezer.h"
#include "unify/change/forget.h"
#include "unify/cli/command.h"

namespace vs::unify {
namespace {

struct ForgetOptions : Options {
  std::string guest;
  bool yes = false;
};

// Its programs would lose their files under their feet.
void refuse_who_runs(const Guest& guest, RunContext& context) {
  Result found = Ok{};
  try {
    found = make_cgroup_freezer()->can_freeze(guest);
  } catch (const Error& error) {
    context.log.warning(std::string(error.what()) + "; whether " + guest.name + " runs is not known");
    return;
  }
  if (!found && found.error().code == ESRCH) return;
  throw Error(escaped(guest.name) + " runs; stop it first" +
              (found ? "" : " (" + found.error().message + ")"));
}

std::vector<NameOfMaster> names_of(const OpenedPool& pool, GuestNumber guest, RunContext& context) {
  auto names =
      find_names_of_masters(pool.guests().only(guest), pool.masters(), pool.options().state, context);
  std::erase_if(names, [](const NameOfMaster& name) { return !name.seen; });
  for (auto& name : names) name.guest = guest;
  return names;
}

Exit show_forget(const ForgetOptions& options, PoolInventory found, Command& command) {
  const OpenedPool pool = look_at_pool(std::move(found), command.context());
  const GuestNumber guest = guest_number(pool.guests(), options.guest);
  const auto names = names_of(pool, guest, command.context());
  if (options.dry_run) {
    for (const auto& name : names) command.print("would remove " + escaped(name.path));
    return command.exit_code();
  }
  command.print(fmt::format(
      "{} shares {} files; without them it is of no use. To remove them, so that {} can be deleted: "
      "vunify forget --yes {}",
      options.guest, names.size(), escaped(pool.guests()[guest].root.path()), options.guest));
  return names.empty() ? command.exit_code() : Exit::usage;
}

Exit forget(const ForgetOptions& options) {
  Command command(options);
  RunContext& context = command.context();
  PoolInventory found = take_inventory(options, context);
  if (options.dry_run || !options.yes || !found.has_store())
    return show_forget(options, std::move(found), command);
  LockedPool pool = lock_pool(std::move(found), context);
  make_whole(pool, context);
  const GuestNumber guest = guest_number(pool.guests(), options.guest);
  refuse_who_runs(pool.guests()[guest], context);
  const auto timed = context.timer.time("forget");
  const ForgetResult result = forget_names({pool.guests(), pool.store(), pool.guard(), pool.masters()},
                                           names_of(pool, guest, context), context);
  command.print(
      fmt::format("{}: {} shared files removed; {} can be deleted now, and vunify gc frees what no "
                  "vserver shares any more",
                  options.guest, result.dropped, escaped(pool.guests()[guest].root.path())));
  return command.exit_code();
}

}  // namespace

void add_forget(CommandLine& line) {
  static ForgetOptions options;
  Verb verb = line.verb("forget", "remove a vserver's shared files, so that its tree can be deleted");
  add_shared_options(verb, options);
  verb.flag("-n,--dry-run", options.dry_run, "change nothing, name the files");
  verb.flag("--yes", options.yes, "do it: the vserver is of no use afterwards");
  verb.argument("GUEST", options.guest, "the vserver, which is to be deleted", true);
  verb.footer(exit_codes(
      "0 done, 1 failed (it runs), 2 usage, or --yes is missing, 3 some could not be removed, 11 locked, "
      "130 interrupted",
      "vunify forget --yes web3 && rm -r /var/lib/machines/web3"));
  verb.action([] { return forget(options); });
}

}  // namespace vs::unify
