#include <fmt/format.h>

#include <algorithm>

#include "core/escape.h"
#include "core/size_text.h"
#include "unify/change/release.h"
#include "unify/cli/command.h"

namespace vs::unify {
namespace {

struct ReleaseOptions : Options {
  std::string guest;
  std::vector<std::string> packages, paths;
};

std::string relative(std::string path) {
  while (path.starts_with('/')) path.erase(0, 1);
  while (path.ends_with('/')) path.pop_back();
  return path;
}

// Which names the command line means: all of the guest, or those of packages, or paths and what is below
// them. The package is asked of the guest's own database, for aliases as the index resolved them, so that
// what dpkg calls /bin/ls is found.
bool wanted(const NameOfMaster& name, const ReleaseOptions& options, const std::vector<std::string>& owned) {
  if (options.packages.empty() && options.paths.empty()) return true;
  for (const auto& given : options.paths) {
    const std::string path = relative(given);
    if (name.path == path || name.path.starts_with(path + "/")) return true;
  }
  return std::binary_search(owned.begin(), owned.end(), name.path);
}

// Paths of the guest's files that the named packages own, as a scan sees them.
std::vector<std::string> owned_paths(const Guest& guest, const std::vector<NameOfMaster>& names,
                                     const std::vector<std::string>& packages, const KeptKnowledge& kept,
                                     RunContext& context) {
  std::vector<std::string> owned;
  if (packages.empty()) return owned;
  const GuestPackages loaded = load_guest_packages(Guests(&guest, 1), kept.package_cache, context);
  const PackageIndex& index = loaded.front();
  for (const auto& name : packages)
    if (std::none_of(index.packages().begin(), index.packages().end(),
                     [&](const Package& p) { return p.name == name || p.source == name; }))
      throw Error(fmt::format("{} has no package '{}'", guest.name, escaped(name)), Exit::usage);
  for (const auto& name : names) {
    const auto [parent, base] = split_path(name.path);
    const auto dir = guest.root.open_dir(parent);
    const auto stat = dir ? stat_fd(dir->get(), name.path) : Expected<FileStat>(dir.error());
    if (!stat) continue;
    const PackageFile* file = index.find(index.dir(stat->ino), base);
    if (file == nullptr) continue;
    const Package& package = index.packages()[file->package];
    if (std::find(packages.begin(), packages.end(), package.name) != packages.end() ||
        std::find(packages.begin(), packages.end(), package.source) != packages.end())
      owned.push_back(name.path);
  }
  std::sort(owned.begin(), owned.end());
  return owned;
}

// Nothing where there is nothing to give back, and the reason is printed.
std::optional<std::vector<NameOfMaster>> names_to_release(const OpenedPool& pool, const KeptKnowledge& kept,
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
  const auto owned = owned_paths(pool.guests()[guest], names, options.packages, kept, command.context());
  names =
      select_names(std::move(names), [&](const NameOfMaster& name) { return wanted(name, options, owned); });
  for (auto& name : names) name.guest = guest;
  return names;
}

Exit show_release(const ReleaseOptions& options, PoolInventory found, Command& command) {
  const OpenedPool pool = look_at_pool(std::move(found), command.context());
  if (const auto names = names_to_release(pool, {}, options, command))
    for (const auto& name : *names) command.print("would release " + escaped(name.path));
  return command.exit_code();
}

Exit release(const ReleaseOptions& options) {
  Command command(options);
  RunContext& context = command.context();
  if (!options.dry_run) require_root();
  PoolInventory found = take_inventory(options, context);
  if (options.dry_run || !found.has_store()) return show_release(options, std::move(found), command);
  LockedPool pool = lock_pool(std::move(found), context);
  make_whole(pool, context);
  const auto names = names_to_release(pool, pool.kept(), options, command);
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
  verb.list("--package", "P", options.packages, "only files of this package (binary or source name)");
  verb.argument("GUEST", options.guest, "the vserver", true);
  verb.arguments("PATH", options.paths, "only these paths and what is below them", false);
  verb.footer(
      exit_codes("0 done, 1 failed, 2 usage, 3 some files changed meanwhile or could not be copied, 11 "
                 "locked, 130 interrupted",
                 "vunify release web1 --package libc6"));
  verb.action([] { return release(options); });
}

}  // namespace vs::unify
