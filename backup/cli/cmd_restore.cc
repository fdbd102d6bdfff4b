#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "backup/archive/host_tree.h"
#include "backup/cli/command.h"
#include "backup/restore/restore.h"
#include "core/escape.h"
#include "core/size_text.h"
#include "core/tree/nodev_mount.h"

namespace vs::backup {
namespace {

struct RestoreFlags : Options {
  std::string target, store, as;
  std::vector<std::string> include, exclude;
  bool link_live = false, no_devices = false, all = false;
};

// .unify at the top of the filesystem that the target is on, where vunify has its store by default.
std::string default_store(const std::string& target) {
  RootDir dir(target);
  std::string path = path_of_fd(dir.fd());
  uint64_t mount = dir.stat().mount_id;
  while (path != "/") {
    const auto [parent, name] = split_path(path);
    const std::string up = parent.empty() ? "/" : std::string(parent);
    if (RootDir(up).stat().mount_id != mount) break;
    path = up;
  }
  return path == "/" ? "/.unify" : path + "/.unify";
}

// What is asked for. Of all, those that can be restored: one whose newest state is not whole is named, and
// takes nothing from the others.
std::vector<Selection> chosen(const RestoreFlags& options, StoredBackups& backups, Log& log) {
  std::vector<Selection> selections;
  for (const auto& text : options.guests) selections.push_back(backups.parse(text));
  if (options.all == !selections.empty())
    throw Error("name what to restore: NAME[@TIME][:PATH], or --all", Exit::usage);
  if (!options.as.empty()) {
    if (selections.size() != 1) throw Error("--as goes with one NAME[@TIME][:PATH]", Exit::usage);
    if (options.as[0] == '.' || options.as.find('/') != std::string::npos)
      throw Error("--as " + escaped(options.as) + ": expected a name, without '/' and no '.' in front",
                  Exit::usage);
    selections.front().as = options.as;
  }
  if (!options.all) return selections;
  for (const auto& guest : backups.guests()) {
    if (const auto state = backups.state(guest, kNewest); !state)
      log.object_failed(state.error().message);
    else
      selections.push_back({guest, std::nullopt, ""});
  }
  if (selections.empty()) throw Error("there is nothing that can be restored", Exit::usage);
  return selections;
}

RestoreOptions options_of(const RestoreFlags& options, const PathGlobs& include, const PathGlobs& exclude) {
  RestoreOptions restore_options;
  restore_options.include = &include;
  restore_options.exclude = &exclude;
  restore_options.target = options.target;
  restore_options.devices = !options.no_devices;
  restore_options.dry_run = options.dry_run;
  if (options.link_live && !options.dry_run) {
    if (::mkdir(options.target.c_str(), 0700) != 0 && errno != EEXIST)
      throw Error(problem_from_errno("create directory", options.target).message, Exit::usage);
    restore_options.link_store = options.store.empty() ? default_store(options.target) : options.store;
  }
  return restore_options;
}

Exit finish(const RestoreFlags& options, const RestoreCounts& counts, Command& command) {
  const std::string text = fmt::format(
      "{} vservers{}: {} directories, {} files ({}), {} links, {} special files{}{}{}", counts.guests,
      options.dry_run ? " would be restored" : "", counts.directories, counts.files, size_text(counts.bytes),
      counts.links, counts.specials,
      counts.linked_live != 0 ? fmt::format("; {} names linked to live masters", counts.linked_live) : "",
      counts.host_trees != 0 ? fmt::format("\nfiles of the host for {} vservers: in {}/{}", counts.host_trees,
                                           escaped(options.target), host_tree_of("NAME"))
                             : "",
      counts.damaged != 0 ? fmt::format("\n{} files not restored: see above", counts.damaged) : "");
  return command.finish("restore",
                        {{"guests", counts.guests},
                         {"host_trees", counts.host_trees},
                         {"directories", counts.directories},
                         {"files", counts.files},
                         {"bytes", counts.bytes},
                         {"links", counts.links},
                         {"specials", counts.specials},
                         {"linked_live", counts.linked_live},
                         {"damaged", counts.damaged},
                         {"dry_run", options.dry_run}},
                        text);
}

Exit run_restore(RestoreFlags& options) {
  Command command(options);
  if (options.target.empty())
    throw Error("where to? --target DIR; a vserver is restored to DIR/NAME", Exit::usage);
  StoredBackups backups(source_of(options));
  std::vector<Selection> selections = chosen(options, backups, command.context().log);
  for (const auto& one : selections)
    command.say_state(one.guest, value_or_throw(backups.stamp(one.guest, one.limit()), Exit::usage));
  if (options.include.empty()) selections = with_host_trees(backups, std::move(selections));
  for (const auto& problem : backups.problems()) command.context().log.warning(problem);
  const PathGlobs include(options.include), exclude(options.exclude);
  const RestoreCounts counts =
      restore(backups, selections, options_of(options, include, exclude), command.context());
  for (const auto& glob : include.unused())
    command.context().log.object_failed("--include " + escaped(glob) + " fits nothing");
  for (const auto& glob : exclude.unused())
    command.context().log.warning("--exclude " + escaped(glob) + " fits nothing");
  return finish(options, counts, command);
}

}  // namespace

void add_restore(CommandLine& line) {
  static RestoreFlags options;
  Verb verb = line.verb("restore", "give back vservers, directories or files as they were");
  add_set_option(verb, options);
  add_from_option(verb, options);
  verb.option("--target", "DIR", options.target,
              "where to: a vserver becomes DIR/NAME, which must not exist");
  verb.option("--as", "NAME", options.as, "the name that it is restored under [its own]");
  verb.list("--include", "GLOB", options.include,
            "only these paths and what is below them, relative to each tree; without '/' any name that fits");
  verb.list("--exclude", "GLOB", options.exclude, "not these paths, nor what is below them");
  verb.flag("--all", options.all, "the last state of all vservers");
  verb.flag("--link-live", options.link_live,
            "link shared files to the masters of vunify's store where they are the same");
  verb.option("--store", "DIR", options.store, "that store [.unify at the mount point of the target]");
  verb.flag("--no-devices", options.no_devices, "leave device nodes out");
  verb.flag("-n,--dry-run", options.dry_run, "say what would be restored");
  add_frame_options(verb, options);
  verb.arguments("NAME[@TIME][:PATH]", options.guests,
                 "a vserver, as of the last backup not after TIME (UTC), or one path of it", false);
  verb.footer(exit_codes(
      "0 done, 1 failed, 2 usage, 3 some objects could not be restored (each is named), 130 interrupted",
      "vbackup restore --to archive:/backup/vservers --target /vservers/restored web1@2026-11-23:/etc"));
  verb.action([] { return run_restore(options); });
}

}  // namespace vs::backup
