#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "backup/archive_target.h"
#include "backup/backup.h"
#include "backup/command.h"
#include "backup/snapshot_tree.h"
#include "core/durable_file.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

struct CreateFlags : Options {
  std::vector<std::string> excludes;
  std::string single;
  uint64_t level = 3, verify_sample = 64, longest_chain = 30;
  std::string consistency = "auto";
  bool full = false, all = false;
};

std::vector<Guest> chosen_guests(const CreateFlags& options, RunContext& context) {
  InventoryOptions inventory;
  inventory.trees = options.trees;
  std::vector<std::string> warnings;
  auto guests = find_guests(inventory, warnings);
  for (const auto& warning : warnings) context.log.object_failed(warning);
  for (const auto& name : options.guests)
    if (std::none_of(guests.begin(), guests.end(), [&](const Guest& guest) { return guest.name == name; })) throw Error("no vserver is named " + escaped(name), Exit::usage);
  if (!options.guests.empty()) {
    if (options.all) throw Error("--all and names of vservers exclude each other", Exit::usage);
    std::erase_if(guests, [&](const Guest& guest) { return std::find(options.guests.begin(), options.guests.end(), guest.name) == options.guests.end(); });
  }
  if (guests.empty()) throw Error("no vserver found; name trees with --tree NAME=DIR", Exit::usage);
  return guests;
}

// Snapshots in place of the trees: of all guests, or of none, because a run has one consistency.
std::vector<std::unique_ptr<SnapshotTree>> take_snapshots(const CreateFlags& options, std::vector<Guest>& guests, CreateOptions& create, RunContext& context) {
  std::vector<std::unique_ptr<SnapshotTree>> snapshots;
  if (options.consistency == "live") return snapshots;
  if (options.consistency != "auto" && options.consistency != "snapshot") throw Error("--consistency: expected auto, snapshot or live, found '" + escaped(options.consistency) + "'", Exit::usage);
  for (const auto& guest : guests) {
    auto snapshot = SnapshotTree::make(guest);
    if (!snapshot) {
      if (options.consistency == "snapshot") throw Error(snapshot.error().message);
      if (snapshot.error().code != ENOTSUP || !snapshots.empty()) context.log.warning("all vservers are read live: " + snapshot.error().message);
      return {};
    }
    snapshots.push_back(std::move(*snapshot));
  }
  for (size_t i = 0; i < guests.size(); ++i) {
    guests[i].root = snapshots[i]->open();
    create.filesystems.push_back(snapshots[i]->filesystem());
  }
  create.consistency = "snapshot";
  return snapshots;
}

Exit create(CreateFlags& options) {
  Command command(options);
  auto& context = command.context();
  if (options.level < 1 || options.level > 19) throw Error("--level: expected 1 to 19, found " + std::to_string(options.level), Exit::usage);
  if (options.to.empty() && options.single.empty()) throw Error("where to? --to archive:DIR or --single FILE", Exit::usage);
  auto guests = chosen_guests(options, context);
  if (options.dry_run) {
    for (const auto& guest : guests) command.print(fmt::format("would back up {} ({})", guest.name, escaped(guest.root.path())));
    return command.finish("create", {{"guests", guests.size()}, {"dry_run", true}}, "");
  }
  std::vector<std::unique_ptr<Target>> targets;
  std::string last;
  const ArchiveOptions archive{static_cast<int>(options.level), options.full, options.longest_chain};
  for (const auto& to : options.to) {
    auto target = std::make_unique<ArchiveTarget>(set_path(to), archive);
    last = std::max(last, target->last_stamp());
    targets.push_back(std::move(target));
  }
  if (!options.single.empty()) targets.push_back(ArchiveTarget::single(options.single, archive));
  if (targets.size() > 32) throw Error("at most 32 targets in one run", Exit::usage);
  const UniqueFd state = value_or_throw(open_private_dir(options.state, true));
  const HostLock lock(state.get(), "lock", options.state + "/lock");
  CreateOptions create;
  create.excludes = options.excludes;
  create.state = options.state;
  create.verify_sample = options.verify_sample;
  const auto snapshots = take_snapshots(options, guests, create, context);
  const CreateResult result = create_backup(std::move(guests), targets, last, create, context);
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  uint64_t packed = 0, stored = 0;
  for (const auto& target : targets) {
    const auto counts = target->counts();
    packed += counts.bytes_packed;
    stored += counts.bytes_stored;
    list.push_back({{"to", target->describe()}, {"archives", counts.archives}, {"objects_stored", counts.objects_stored}, {"bytes_stored", counts.bytes_stored}, {"bytes_packed", counts.bytes_packed}});
  }
  const auto& c = result.counts;
  const nlohmann::ordered_json summary = {{"guests", result.guests}, {"names", result.names}, {"inodes", result.inodes}, {"directories", result.directories}, {"shared", result.shared},
                                          {"known", result.known}, {"files_read", c.files_read}, {"bytes_read", c.bytes_read}, {"bytes_stored", stored}, {"bytes_packed", packed},
                                          {"gone", c.gone}, {"failed", c.failed}, {"inconsistent", c.inconsistent}, {"verified", c.verified}, {"alarms", c.alarms},
                                          {"consistency", create.consistency}, {"stamp", result.stamp}, {"targets", list}};
  std::string text = fmt::format("{} vservers, {} names, {} inodes ({} shared), {} known from before\n{} files read ({}), {} stored, {} packed",
                                 result.guests, result.names, result.inodes, result.shared, result.known, c.files_read, size_text(c.bytes_read), size_text(stored), size_text(packed));
  if (c.gone + c.inconsistent != 0) text += fmt::format("\n{} vanished before they were read, {} changed while they were (marked inconsistent); consistency: {}", c.gone, c.inconsistent, create.consistency);
  text += fmt::format("\n{}", result.stamp);
  const Exit code = command.finish("create", summary, text);
  if (result.failed_targets != 0 || c.alarms != 0) return Exit::failed;
  return code;
}

}  // namespace

void add_create(CommandLine& line) {
  static CreateFlags options;
  Verb verb = line.verb("create", "archive vservers: in full the first time, then what changed");
  add_source_options(verb, options);
  verb.list("--to", "archive:DIR", options.to, "an archive set; several are fed from one reading");
  verb.option("--single", "FILE", options.single, "one archive that holds all of it");
  verb.list("--exclude", "GLOB", options.excludes, "leave these paths out, relative to each tree; without '/' any name that fits");
  verb.flag("--all", options.all, "all vservers (the default when none is named)");
  verb.flag("--full", options.full, "begin a new chain");
  verb.option("--longest-chain", "N", options.longest_chain, "a full after N incrementals [30]");
  verb.option("--level", "N", options.level, "of zstd, 1 to 19 [3]");
  verb.option("--verify-sample", "N", options.verify_sample, "read one in N of what seems unchanged all the same; 0 none [64]");
  verb.option("--consistency", "HOW", options.consistency, "auto: a snapshot of each tree where all can have one (btrfs); snapshot: that or fail; live [auto]");
  verb.flag("-n,--dry-run", options.dry_run, "say what would be backed up");
  add_frame_options(verb, options);
  verb.arguments("GUEST", options.guests, "vservers [all]", false);
  verb.footer(exit_codes("0 done, 1 failed (or a sample differed: see ALARM), 2 usage, 3 some objects could not be read, 11 another run holds the set, 130 interrupted",
                         "vbackup create --to archive:/backup/vservers"));
  verb.action([] { return create(options); });
}

}  // namespace vs::backup
