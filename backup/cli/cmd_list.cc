#include <fmt/format.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "backup/archive/archive_set.h"
#include "backup/cli/command.h"
#include "backup/restore/stored_backups.h"
#include "core/escape.h"
#include "core/size_text.h"

namespace vs::backup {
namespace {

struct ListFlags : Options {};

// False if the state cannot be restored.
bool print_archive(Command& command, const ArchiveSet& set, const Archive& archive) {
  const auto& h = archive.header;
  const std::string guest = escaped(h.guest);
  const auto chain = set.chain_to(archive);
  if (!chain)
    command.context().log.object_failed(
        fmt::format("{}@{} cannot be restored: {}", guest, h.stamp, chain.error().message));
  command.print(fmt::format(
      "{:<24} {}  {:<5} {:>3}  {:>9} names  {:>9} own  {:>9} packed  {}{}{}", guest, h.stamp, h.kind,
      h.number, h.names, size_text(h.bytes), size_text(archive.size), h.consistency,
      h.inconsistent != 0 ? fmt::format(", {} inconsistent", h.inconsistent) : "",
      std::string(archive.is_protected ? ", protected" : "") + (chain ? "" : ", cannot be restored")));
  command.line({{"type", "archive"},
                {"guest", h.guest},
                {"stamp", h.stamp},
                {"kind", h.kind},
                {"number", h.number},
                {"names", h.names},
                {"bytes", h.bytes},
                {"bytes_packed", archive.size},
                {"consistency", h.consistency},
                {"inconsistent", h.inconsistent},
                {"whole", chain.has_value()},
                {"protected", archive.is_protected},
                {"file", archive.name + ".tar.zst"}});
  return chain.has_value();
}

// A single archive has each of its vservers as of one time.
Exit list_single(Command& command, const StoredBackups& backups) {
  const auto [catalog, file] = backups.single();
  const auto guests = backups.guests();
  for (const auto& guest : guests) {
    uint64_t names = 0;
    std::vector<Entry> entries;
    for (const auto& [path, bytes] : catalog->dirs.at(guest))
      if (decode_dir(bytes, entries)) names += entries.size() - 1;
    const CatalogHeader& h = catalog->header;
    command.print(fmt::format("{:<24} {}  {:<5} {:>9} names  {}", escaped(guest), h.stamp, h.kind, names,
                              h.consistency));
    command.line({{"type", "archive"},
                  {"guest", guest},
                  {"stamp", h.stamp},
                  {"kind", h.kind},
                  {"names", names},
                  {"consistency", h.consistency},
                  {"file", file->path()}});
  }
  return command.finish("list", {{"archives", 1}, {"bytes_packed", file->file_size()}},
                        fmt::format("{} vservers ({})", guests.size(), size_text(file->file_size())));
}

Exit list(ListFlags& options) {
  Command command(options);
  const StoredBackups backups(source_of(options));
  if (backups.set() == nullptr) return list_single(command, backups);
  const ArchiveSet& set = *backups.set();
  for (const auto& problem : set.problems()) command.context().log.object_failed(problem);
  uint64_t archives = 0, broken = 0, bytes = 0, pool = 0;
  for (const auto& archive : set.archives()) {
    bytes += archive.size;
    if (archive.header.kind == "pool") pool += archive.size;
  }
  for (const auto& guest : set.guests()) {
    if (!options.guests.empty() &&
        std::find(options.guests.begin(), options.guests.end(), guest) == options.guests.end())
      continue;
    for (const auto& archive : set.history(guest)) {
      ++archives;
      broken += print_archive(command, set, archive) ? 0 : 1;
    }
  }
  return command.finish(
      "list",
      {{"archives", archives}, {"broken", broken}, {"bytes_packed", bytes}, {"pool_bytes_packed", pool}},
      fmt::format("{} archives, {} with the pool ({})", archives, size_text(bytes), size_text(pool)));
}

}  // namespace

void add_list(CommandLine& line) {
  static ListFlags options;
  Verb verb = line.verb("list", "what an archive set holds");
  add_set_option(verb, options);
  add_from_option(verb, options);
  add_frame_options(verb, options);
  verb.arguments("GUEST", options.guests, "vservers [all]", false);
  verb.footer(exit_codes("0 done, 2 usage, 3 some archives could not be read",
                         "vbackup list --to archive:/backup/vservers"));
  verb.action([] { return list(options); });
}

}  // namespace vs::backup
