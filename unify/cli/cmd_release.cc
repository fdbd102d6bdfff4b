#include <fmt/format.h>

#include "core/escape.h"
#include "core/size_text.h"
#include "core/typed_package.h"
#include "unify/change/release.h"
#include "unify/cli/command.h"
#include "unify/holds.h"
#include "unify/typed_path.h"

namespace vs::unify {
namespace {

struct ReleaseOptions : Options {
  std::string guest;
  std::vector<std::string> packages, paths;
  uint64_t hold_while = 0;  // the process
  bool hold = false, unhold = false;
};

// What of the guest is to be released: all of it where nothing is typed.
struct Filter {
  std::vector<TypedPath> paths;
  std::vector<TypedPackage> packages;
  PackageIndex index;  // of the guest; empty where no package is typed
  bool everything() const { return paths.empty() && packages.empty(); }
};

// Before anything is locked or changed. What is not there is named; if nothing else was typed, that is a
// usage error.
Filter find_filter(const PoolInventory& found, const ReleaseOptions& options, Command& command) {
  Filter filter;
  const Guests guests = found.guests;
  const GuestNumber guest = guest_number(guests, options.guest);
  std::vector<std::string> missing;
  for (const auto& given : options.paths) {
    auto path = resolve_typed_path(guests[guest].root, given, LastSymlink::follow);
    if (path)
      filter.paths.push_back(std::move(*path));
    else
      missing.push_back(path.error().message);
  }
  if (!options.packages.empty())
    filter.index =
        std::move(load_guest_packages(guests.only(guest), std::nullopt, command.context()).front());
  for (const auto& given : options.packages)
    if (TypedPackage package(given); has_package(filter.index, package))
      filter.packages.push_back(std::move(package));
    else
      missing.push_back("no package '" + escaped(given) + "'");
  if (!missing.empty() && filter.everything())
    throw Error(options.guest + ": " + fmt::format("{}", fmt::join(missing, "; ")), Exit::usage);
  for (const auto& one : missing) command.context().log.object_failed(options.guest + ": " + one);
  return filter;
}

// The package that the guest's own database gives a file to; nullptr where none does. The directory is known
// by its inode number, as the index resolved aliases: what dpkg calls /bin/ls is found.
const Package* owner(const Guest& guest, const PackageIndex& index, const std::string& path) {
  const auto [parent, base] = split_path(path);
  const auto dir = guest.root.open_dir(parent);
  const auto stat = dir ? stat_fd(dir->get(), path) : Expected<FileStat>(dir.error());
  const PackageFile* file = stat ? index.find(index.dir(stat->ino), base) : nullptr;
  return file == nullptr ? nullptr : &index.packages()[file->package];
}

// The names that one of the filters means. A filter that means none is told: the files may be the guest's own
// already, or the name was another one than the person thought.
std::vector<NameOfMaster> chosen(std::vector<NameOfMaster> names, const Guest& guest, const Filter& filter,
                                 Log& log) {
  if (filter.everything()) return names;
  std::vector<bool> path_met(filter.paths.size()), package_met(filter.packages.size());
  names = select_names(std::move(names), [&](const NameOfMaster& name) {
    bool wanted = false;
    for (size_t i = 0; i < filter.paths.size(); ++i)
      if (is_at_or_below(name.path, filter.paths[i])) wanted = path_met[i] = true;
    const Package* package = filter.packages.empty() ? nullptr : owner(guest, filter.index, name.path);
    for (size_t i = 0; package != nullptr && i < filter.packages.size(); ++i)
      if (fits(filter.packages[i], *package)) wanted = package_met[i] = true;
    return wanted;
  });
  for (size_t i = 0; i < filter.paths.size(); ++i)
    if (!path_met[i])
      log.warning(guest.name + ": nothing shared is at or below " + escaped(filter.paths[i].given));
  for (size_t i = 0; i < filter.packages.size(); ++i)
    if (!package_met[i])
      log.warning(guest.name + ": nothing of package " + escaped(filter.packages[i].given()) + " is shared");
  return names;
}

// Nothing where there is nothing to give back, and the reason is printed.
std::optional<std::vector<NameOfMaster>> names_to_release(const OpenedPool& pool, const Filter& filter,
                                                          const ReleaseOptions& options, Command& command) {
  const GuestNumber guest = guest_number(pool.guests(), options.guest);
  if (pool.store() == nullptr) {
    command.print("there is no store, so nothing is shared: " + escaped(pool.store_path()));
    return std::nullopt;
  }
  if (!pool.guard().shares_inodes()) {
    command.print("guard reflink: each vserver has its own inodes and may write to them; nothing to release");
    return std::nullopt;
  }
  std::vector<NameOfMaster> names =
      find_names_of_masters(pool.guests().only(guest), pool.masters(), options.state, command.context());
  names = chosen(std::move(names), pool.guests()[guest], filter, command.context().log);
  for (auto& name : names) name.guest = guest;
  return names;
}

Exit show_release(const ReleaseOptions& options, const Filter& filter, PoolInventory found,
                  Command& command) {
  const OpenedPool pool = look_at_pool(std::move(found), command.context());
  if (const auto names = names_to_release(pool, filter, options, command))
    for (const auto& name : *names) command.print("would release " + escaped(name.path));
  return command.exit_code();
}

Exit unhold(const ReleaseOptions& options, const PoolInventory& found, Command& command) {
  guest_number(Guests(found.guests), options.guest);
  command.print(options.guest +
                (is_held(options.state, options.guest) ? " is held no more" : " was not held"));
  if (!options.dry_run) end_hold(options.state, options.guest);
  return command.exit_code();
}

// Before anything is released, so that no run comes in between.
void hold(const ReleaseOptions& options, const LockedPool& pool) {
  guest_number(pool.guests(), options.guest);
  if (options.hold_while != 0)
    hold_guest(options.state, options.guest, static_cast<pid_t>(options.hold_while));
  else if (options.hold)
    hold_guest(options.state, options.guest, std::nullopt);
}

Exit release(const ReleaseOptions& options) {
  Command command(options);
  RunContext& context = command.context();
  if (!options.dry_run) require_root();
  PoolInventory found = take_inventory(options, context);
  if (options.unhold) return unhold(options, found, command);
  const Filter filter = find_filter(found, options, command);
  if (options.dry_run || (!found.has_store() && !options.hold && options.hold_while == 0))
    return show_release(options, filter, std::move(found), command);
  LockedPool pool = lock_pool(std::move(found), context);
  make_whole(pool, context);
  hold(options, pool);
  const auto names = names_to_release(pool, filter, options, command);
  if (!names) return command.exit_code();
  const JournalRun run = pool.journal_run("release", new_run_id());
  const auto timed = context.timer.time("release");
  const ReleaseResult result = release_names(pool.release_input(run), *names, context);
  release_spoiled(pool, context);
  RunSummary summary;
  summary.verb = "release";
  summary.guests = 1;
  summary.run = run.run;
  summary.masters = pool.masters().size();
  summary.skipped = result.skipped;
  command.print(fmt::format("{}: {} files are its own again, {} copied", options.guest, result.released,
                            size_text(result.bytes_copied)));
  return command.finish(summary);
}

}  // namespace

void add_release(CommandLine& line) {
  static ReleaseOptions options;
  Verb verb = line.verb("release", "give a vserver private, writable copies back, to upgrade a package say");
  add_shared_options(verb, options);
  verb.flag("-n,--dry-run", options.dry_run, "change nothing, name the files");
  verb.list("--package", "P", options.packages,
            "only files of this package (binary or source name, or NAME:ARCH)");
  verb.flag("--hold", options.hold, "and share nothing of it again until --unhold");
  verb.option("--hold-while", "PID", options.hold_while,
              "and share nothing of it again while this process lives");
  verb.flag("--unhold", options.unhold, "end a hold; release nothing");
  verb.argument("GUEST", options.guest, "the vserver", true);
  verb.arguments("PATH", options.paths, "only these paths and what is below them", false);
  verb.footer(exit_codes(
      "0 done, 1 failed, 2 usage, or nothing that was named is there, 3 some of it is not there, or "
      "some files changed meanwhile or could not be copied, 11 locked, 130 interrupted",
      "vunify release web1 --package libc6"));
  verb.action([] { return release(options); });
}

}  // namespace vs::unify
