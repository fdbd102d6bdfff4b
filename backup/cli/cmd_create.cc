#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>

#include "backup/archive/set_target.h"
#include "backup/archive/single_target.h"
#include "backup/backup.h"
#include "backup/cli/create_summary.h"
#include "backup/cli/keep_rules.h"
#include "backup/cli/metrics_file.h"
#include "backup/freeze_delta.h"
#include "backup/source/snapshot_tree.h"
#include "core/cgroup_freeze.h"
#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/size_text.h"

namespace vs::backup {
namespace {

struct CreateFlags : Options {
  std::vector<std::string> excludes, exclude_files, exclude_guests, exclude_if_present;
  std::string single, prometheus;
  uint64_t level = 3, verify_sample = 64, longest_chain = 30, freeze_budget = 10, snapshot_reserve = 20;
  std::string consistency = "auto";
  bool full = false, all = false, init = false, exclude_caches = false, cross_mounts = false,
       no_subvolumes = false, forget = false;
  KeepRules rules;  // of --forget
};

// A vserver whose tree is not there is named and left out: the others shall not be without a backup for it.
std::vector<Guest> chosen_guests(const CreateFlags& options, RunContext& context) {
  InventoryOptions inventory;
  inventory.trees = options.trees;
  inventory.leave_out_trees = true;
  std::vector<std::string> warnings, left_out;
  auto guests = find_guests(inventory, warnings, &left_out);
  for (const auto& warning : warnings) context.log.object_failed(warning);
  for (const auto& name : options.guests)
    if (std::none_of(guests.begin(), guests.end(), [&](const Guest& guest) { return guest.name == name; }) &&
        std::find(left_out.begin(), left_out.end(), name) == left_out.end()) {
      if (options.guests.size() == 1) throw Error("no vserver is named " + escaped(name), Exit::usage);
      context.log.object_failed("no vserver is named " + escaped(name) + "; it is left out");
      left_out.push_back(name);
    }
  if (!options.guests.empty()) {
    if (options.all) throw Error("--all and names of vservers exclude each other", Exit::usage);
    std::erase_if(guests, [&](const Guest& guest) {
      return std::find(options.guests.begin(), options.guests.end(), guest.name) == options.guests.end();
    });
  }
  for (const auto& name : options.exclude_guests)
    if (std::erase_if(guests, [&](const Guest& guest) { return guest.name == name; }) == 0)
      context.log.warning("--exclude-guest " + escaped(name) + " leaves nobody out");
  if (guests.empty() && !left_out.empty()) throw Error("no vserver is left to archive");
  if (guests.empty()) throw Error("no vserver found; name trees with --tree NAME=DIR", Exit::usage);
  return guests;
}

using Snapshots = std::vector<std::unique_ptr<SnapshotTree>>;

// Snapshots in place of the trees: of all guests, or of none, because a run has one consistency. `snapshots`
// must outlive the run.
void read_snapshots(const CreateFlags& options, std::vector<Guest>& guests, Snapshots& snapshots,
                    CreateOptions& create, RunContext& context) {
  // What is mounted in a tree is in no snapshot of it.
  if (options.cross_mounts && options.consistency == "snapshot")
    throw Error(
        "--cross-mounts and --consistency snapshot exclude each other: what is mounted in a tree is in no "
        "snapshot of it",
        Exit::usage);
  if (options.consistency == "live" || options.consistency == "frozen" || options.cross_mounts) return;
  create.moment_ns = now_ns();
  auto taken = take_snapshots(guests, {options.snapshot_reserve, !options.no_subvolumes});
  if (!taken) {
    if (options.consistency == "snapshot") throw Error(taken.error().message);
    if (taken.error().code != ENOTSUP)
      context.log.warning("all vservers are read live: " + taken.error().message);
    create.moment_ns = 0;
    return;
  }
  snapshots = std::move(*taken);
  for (size_t i = 0; i < guests.size(); ++i) {
    guests[i].root = snapshots[i]->open();
    create.filesystems.push_back(snapshots[i]->filesystem());
  }
  create.consistency = "snapshot";
  create.before_finish.must_hold = [&snapshots] {
    for (const auto& snapshot : snapshots) ok_or_throw(snapshot->holds());
  };
}

// A target that cannot be opened is named and left out, unless it is the only one.
class TargetOpener {
 public:
  TargetOpener(size_t wanted, OpenedTargets& opened, RunContext& context)
      : wanted_(wanted), opened_(opened), context_(context) {}
  // Returns whether it is open. `open` makes it, and throws what is wrong with it.
  bool open(const std::string& shown, const std::function<std::unique_ptr<Target>()>& open) {
    try {
      opened_.targets.push_back(open());
      return true;
    } catch (const Error& error) {
      if (wanted_ == 1) throw;
      context_.log.error(fmt::format("{}: {}; it is left out", escaped(shown), error.what()));
      ++opened_.left_out;
      return false;
    }
  }
  void need_one() const {
    if (opened_.targets.empty()) throw Error("no target is left to write to");
  }

 private:
  const size_t wanted_;
  OpenedTargets& opened_;
  RunContext& context_;
};

// The guests once more while they stand still, each in turn. `sets`: that the live pass wrote.
std::vector<FrozenResult> freeze_guests(const CreateFlags& options, const std::vector<std::string>& sets,
                                        const std::vector<std::pair<std::string, std::string>>& trees,
                                        const CreateOptions& create, RunContext& context) {
  const bool must = options.consistency == "frozen";
  // A single archive is written once, and what was read live is in it.
  const bool wanted =
      must || (options.consistency == "auto" && create.consistency == "live" && options.freeze_budget != 0);
  if (!wanted || sets.empty()) return {};
  if (!must && cgroup2_mount().empty()) return {};
  const auto freezer = make_cgroup_freezer();
  FreezeOptions freeze;
  freeze.budget = std::chrono::seconds(options.freeze_budget);
  freeze.open_targets = [&](const std::string& guest) {
    OpenedTargets opened;
    TargetOpener opener(sets.size(), opened, context);
    for (const auto& set : sets)
      opener.open("archive:" + set, [&] {
        // Always an incremental of the live pass, whose chain may just have become as long as it may: a full
        // would take long, and the guest waits.
        auto target = std::make_unique<SetTarget>(
            set, ArchiveOptions{static_cast<int>(options.level), false, options.longest_chain + 1, false});
        opened.last_stamp = std::max(opened.last_stamp, target->last_stamp_of(guest));
        return target;
      });
    opener.need_one();
    return opened;
  };
  return freeze_delta(trees, freeze, *freezer, create, context);
}

void check_flags(const CreateFlags& options) {
  if (options.level < 1 || options.level > 19)
    throw Error("--level: expected 1 to 19, found " + std::to_string(options.level), Exit::usage);
  if (options.snapshot_reserve < 1 || options.snapshot_reserve > 100)
    throw Error(
        "--snapshot-reserve: expected 1 to 100 percent, found " + std::to_string(options.snapshot_reserve),
        Exit::usage);
  if (options.to.empty() && options.single.empty())
    throw Error("where to? --to archive:DIR or --single FILE", Exit::usage);
  if (options.consistency == "frozen" && (!options.single.empty() || options.freeze_budget == 0))
    throw Error(
        "--consistency frozen needs a --freeze-budget, and an archive set: a single archive is written once",
        Exit::usage);
}

struct CreateTargets {
  OpenedTargets opened;
  std::vector<std::string>
      sets;  // directories of the first of these targets; the last one may be a single archive
};

// All targets that can be opened, locked; the last stamp that any of them has.
CreateTargets open_targets(const CreateFlags& options, RunContext& context) {
  const size_t wanted = options.to.size() + (options.single.empty() ? 0 : 1);
  if (wanted > 32) throw Error("at most 32 targets in one run", Exit::usage);
  std::vector<std::string> dirs;  // all of them first: what makes no sense is no target that is not there
  for (const auto& to : options.to) dirs.push_back(set_path(to));
  CreateTargets targets;
  const ArchiveOptions archive{static_cast<int>(options.level), options.full, options.longest_chain,
                               options.init};
  TargetOpener opener(wanted, targets.opened, context);
  for (const auto& dir : dirs) {
    const bool open = opener.open("archive:" + dir, [&] {
      auto target = std::make_unique<SetTarget>(dir, archive);
      // Here, because a set with a stamp in the future has trouble of its own.
      wait_for_next_stamp(target->last_stamp());
      targets.opened.last_stamp = std::max(targets.opened.last_stamp, target->last_stamp());
      return target;
    });
    if (open) targets.sets.push_back(dir);
  }
  if (!options.single.empty())
    opener.open(options.single,
                [&] { return std::make_unique<SingleTarget>(options.single, archive.level); });
  opener.need_one();
  return targets;
}

// Of the sets, those that the run wrote whole.
std::vector<std::string> whole_sets(const CreateTargets& targets, const CreateResult& result) {
  std::vector<std::string> whole;
  for (size_t t = 0; t < targets.sets.size(); ++t)
    if (!result.failed_targets[t]) whole.push_back(targets.sets[t]);
  return whole;
}

Exclusion exclusion_of(const CreateFlags& options) {
  std::vector<std::string> globs = options.excludes;
  for (const auto& file : options.exclude_files)
    for (auto& glob : globs_in_file(file)) globs.push_back(std::move(glob));
  for (const auto& name : options.exclude_if_present)
    if (name.empty() || name.find('/') != std::string::npos)
      throw Error("--exclude-if-present: expected the name of a file, found '" + escaped(name) + "'",
                  Exit::usage);
  return {PathGlobs(globs), options.exclude_if_present, options.exclude_caches};
}

CreateOptions create_options(const CreateFlags& options, const Exclusion& exclusion) {
  CreateOptions create;
  create.exclusion = &exclusion;
  create.cross_mounts = options.cross_mounts;
  create.subvolumes = !options.no_subvolumes;
  create.state = options.state;
  create.verify_sample = options.verify_sample;
  return create;
}

void note(RunMetrics& run, const CreateReport& report, const RunContext& context) {
  run.guests = report.result.guests;
  run.bytes_read = report.result.counts.bytes_read;
  for (const auto& target : report.targets) run.bytes_stored += target.counts.bytes_stored;
  run.alarms = report.result.counts.alarms;
  run.failed_targets = report.failed_targets();
  run.failed_objects = context.log.failed_objects();
}

Exit show_create(std::span<const Guest> guests, Command& command) {
  for (const auto& guest : guests)
    command.print(fmt::format("would back up {} ({})", guest.name, escaped(guest.root.path())));
  return command.finish("create", {{"guests", guests.size()}, {"dry_run", true}}, "");
}

Exit create(CreateFlags& options, RunMetrics& metrics) {
  Command command(options);
  auto& context = command.context();
  check_flags(options);
  const Exclusion exclusion = exclusion_of(options);
  auto guests = chosen_guests(options, context);
  if (options.dry_run) return show_create(guests, command);
  CreateTargets targets = open_targets(options, context);
  OpenedTargets& opened = targets.opened;
  const UniqueFd state = value_or_throw(open_private_dir(options.state, true));
  const HostLock lock(state.get(), "lock", options.state + "/lock");
  CreateOptions create = create_options(options, exclusion);
  std::vector<std::pair<std::string, std::string>> trees;
  for (const auto& guest : guests) trees.emplace_back(guest.name, guest.root.path());
  for (const auto& line : sweep_snapshots()) context.log.warning(line);
  create.host_files = find_host_files(guests, {}, context.log);
  Snapshots snapshots;
  read_snapshots(options, guests, snapshots, create, context);
  CreateReport report;
  report.result = create_backup(std::move(guests), opened.targets, opened.last_stamp, create, context);
  report.targets = stored_in(opened.targets);
  report.targets_left_out = opened.left_out;
  report.consistency = create.consistency;
  for (const auto& glob : exclusion.globs.unused())
    context.log.warning("--exclude " + escaped(glob) + " fits nothing");
  opened.targets.clear();  // gives their locks back
  const auto whole = whole_sets(targets, report.result);
  report.frozen = freeze_guests(options, whole, trees, create, context);
  const bool failed =
      report.result.counts.alarms != 0 || (options.consistency == "frozen" && !report.all_stood_still());
  snapshots.clear();  // one of LVM costs whoever writes to the volume
  if (options.forget && !failed) report.forgotten = forget_by_rules(whole, options.rules, command).archives;
  note(metrics, report, context);
  const Exit code = command.finish("create", report.json(), report.text());
  if (failed) return Exit::failed;
  return code == Exit::done && !report.all_targets() ? Exit::skipped : code;
}

}  // namespace

void add_create(CommandLine& line) {
  static CreateFlags options;
  Verb verb = line.verb("create", "archive vservers: in full the first time, then what changed");
  add_source_options(verb, options);
  verb.list("--to", "archive:DIR", options.to, "an archive set; several are fed from one reading");
  verb.option("--single", "FILE", options.single, "one archive that holds all of it");
  verb.list("--exclude", "GLOB", options.excludes,
            "leave these paths out, relative to each tree; without '/' any name that fits");
  verb.list("--exclude-from", "FILE", options.exclude_files, "such globs, one a line; '#' begins a comment");
  verb.list("--exclude-guest", "NAME", options.exclude_guests, "leave this vserver out");
  verb.flag("--exclude-caches", options.exclude_caches,
            "of a directory that says it is a cache (CACHEDIR.TAG), store that file only");
  verb.list("--exclude-if-present", "NAME", options.exclude_if_present,
            "of a directory in which this name is, store that name only");
  verb.flag("--cross-mounts", options.cross_mounts,
            "also what is mounted in a vserver's tree, if it is a filesystem on a disk");
  verb.flag("--no-subvolumes", options.no_subvolumes,
            "leave out what is in btrfs subvolumes inside of a vserver's tree (their count is said)");
  verb.flag("--all", options.all, "all vservers (the default when none is named)");
  verb.flag("--init", options.init,
            "make a directory an archive set that is none, as vbackup init does; without it such a target is "
            "refused, since its disk may not be mounted");
  verb.flag("--full", options.full, "begin a new chain");
  verb.option("--longest-chain", "N", options.longest_chain, "a full after N incrementals [30]");
  verb.option("--level", "N", options.level, "of zstd, 1 to 19 [3]");
  verb.option("--verify-sample", "N", options.verify_sample,
              "read one in N of what seems unchanged all the same; 0 none [64]");
  verb.choice("--consistency", "HOW", {"auto", "snapshot", "frozen", "live"}, options.consistency,
              "snapshot: of each tree, where all can have one (btrfs subvolumes, LVM volumes); frozen: "
              "guests that run are read live, then stopped while what changed since is read; auto: the first "
              "of these that can be; live [auto]");
  verb.option("--snapshot-reserve", "PERCENT", options.snapshot_reserve,
              "of an LVM volume: room for what is overwritten while its snapshot is read; less if the group "
              "has less [20]");
  verb.option("--freeze-budget", "SECONDS", options.freeze_budget,
              "longest time for which a guest may stand still; 0: none is stopped [10]");
  verb.flag("--forget", options.forget,
            "then forget by the rules below and prune, in each set that was written; not after a failed run");
  add_keep_rules(verb, options.rules);
  verb.option("--prometheus", "FILE", options.prometheus,
              "write a textfile for node_exporter there, after a failed run too");
  verb.flag("-n,--dry-run", options.dry_run, "say what would be backed up");
  add_frame_options(verb, options);
  verb.arguments("GUEST", options.guests, "vservers [all]", false);
  verb.footer(
      exit_codes("0 done, 1 failed (or a sample differed: see ALARM), 2 usage, 3 some objects could not be "
                 "read or one of several targets could not be written, 11 another run holds the set, 130 "
                 "interrupted",
                 "vbackup create --to archive:/backup/vservers"));
  verb.action([] {
    const auto run = [](RunMetrics& metrics) { return create(options, metrics); };
    return with_metrics(options.dry_run ? "" : options.prometheus, options.to, run);
  });
}

}  // namespace vs::backup
