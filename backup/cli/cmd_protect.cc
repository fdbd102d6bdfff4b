#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "backup/cli/command.h"
#include "backup/cli/named_archive.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

struct ProtectFlags : Options {
  bool off = false;
};

Exit protect(ProtectFlags& options) {
  Command command(options);
  ArchiveSet set(only_set(options));
  const auto lock = lock_to_change(set, false);
  std::vector<Archive> archives;  // all of them first: a name that is wrong changes nothing
  for (const auto& text : options.guests) {
    const Selection selection = parse_selection(text, set.guests(), set.path());
    if (!selection.time || !selection.path.empty())
      throw Error("protect takes NAME@TIME: one backup of a vserver", Exit::usage);
    archives.push_back(the_one(set, selection));
  }
  for (const auto& archive : archives) {
    set.protect(archive, !options.off);
    command.note(fmt::format("{}@{} {}", escaped(archive.header.guest), archive.header.stamp,
                             options.off ? "is as any other" : "stays until protect --off"));
    command.line({{"type", "protected"},
                  {"guest", archive.header.guest},
                  {"stamp", archive.header.stamp},
                  {"protected", !options.off}});
  }
  return command.finish("protect", {{"backups", archives.size()}}, "");
}

}  // namespace

void add_protect(CommandLine& line) {
  static ProtectFlags options;
  Verb verb = line.verb("protect", "mark backups that forget leaves alone, whatever its rules say");
  add_set_option(verb, options);
  verb.flag("--off", options.off, "take the mark off");
  add_frame_options(verb, options);
  verb.arguments("NAME@TIME", options.guests, "the backups: TIME (UTC) as of forget", true);
  verb.footer(exit_codes("0 done, 1 failed, 2 usage, 11 another run holds the set",
                         "vbackup protect --to archive:/backup/vservers web1@2026-11-23"));
  verb.action([] { return protect(options); });
}

}  // namespace vs::backup
