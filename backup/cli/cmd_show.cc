#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "backup/cli/command.h"
#include "backup/restore/stored_backups.h"
#include "core/escape.h"
#include "core/tree/file_time.h"

namespace vs::backup {
namespace {

struct ShowFlags : Options {
  bool recursive = false;
};

std::string time_text(int64_t ns) {
  return stamp_of(ns);
}

// null where that many nanoseconds are no number of 64 bits.
nlohmann::ordered_json nanoseconds(int64_t time) {
  return in_nanoseconds(time) ? nlohmann::ordered_json(time) : nlohmann::ordered_json();
}

void show_one(const Command& command, const std::string& path, const Entry& entry) {
  const std::string more = (entry.type == 'l' ? " -> " + escaped(entry.target) : "") +
                           (entry.pool != 0 ? fmt::format("  shared {}", entry.pool) : "") +
                           (entry.inconsistent ? "  inconsistent" : "") +
                           (entry.flags != 0 ? fmt::format("  flags {:#x}", entry.flags) : "");
  command.print(fmt::format("{}{:04o} {:>6} {:>6} {:>12} {} {}{}", entry.type, entry.mode, entry.uid,
                            entry.gid, entry.size, time_text(entry.mtime_ns), escaped(path), more));
  command.line({{"type", "entry"},
                {"path", escaped(path)},
                {"kind", std::string(1, entry.type)},
                {"mode", entry.mode},
                {"uid", entry.uid},
                {"gid", entry.gid},
                {"size", entry.size},
                {"mtime", time_text(entry.mtime_ns)},
                {"mtime_ns", nanoseconds(entry.mtime_ns)},
                {"btime_ns", nanoseconds(entry.btime_ns)},
                {"shared", entry.pool},
                {"target", escaped(entry.target)},
                {"flags", entry.flags},
                {"project", entry.project},
                {"inconsistent", entry.inconsistent},
                {"sha256", entry.type == 'f' && entry.size <= kPiece ? hex(entry.content) : ""}});
}

Exit show(ShowFlags& options) {
  Command command(options);
  StoredBackups backups(source_of(options));
  uint64_t shown = 0;
  for (const auto& text : options.guests) {
    const Selection selection = backups.parse(text);
    const auto state = backups.state(selection.guest, selection.limit());
    if (!state) throw Error(state.error().message, Exit::usage);
    command.say_state(selection.guest, state->stamp);
    const auto top = find_entry(*state, backups.pool(), selection.path);
    if (!top) throw Error(top.error().message, Exit::usage);
    show_one(command, selection.path.empty() ? "/" : selection.path, *top);
    ++shown;
    std::vector<Entry> entries;
    for (const auto& [path, bytes] : state->dirs) {
      const bool inside =
          path == selection.path ||
          (options.recursive && (selection.path.empty() || path.starts_with(selection.path + "/")));
      if (!inside || !decode_dir(bytes, entries)) continue;
      for (size_t i = 1; i < entries.size(); ++i, ++shown) {
        const std::string full = join_path(path, entries[i].name);
        if (const auto entry = find_entry(*state, backups.pool(), full))
          show_one(command, full, *entry);
        else
          command.context().log.object_failed(entry.error().message);
      }
    }
  }
  return command.finish("show", {{"entries", shown}}, "");
}

}  // namespace

void add_show(CommandLine& line) {
  static ShowFlags options;
  Verb verb = line.verb("show", "what a vserver, a directory or a file was like at a time");
  add_set_option(verb, options);
  add_from_option(verb, options);
  verb.flag("-r,--recursive", options.recursive, "directories below too");
  add_frame_options(verb, options);
  verb.arguments("NAME[@TIME][:PATH]", options.guests, "what to show", true);
  verb.footer(exit_codes("0 done, 2 usage, 3 a shared file is lost from the pool (named)",
                         "vbackup show --to archive:/backup/vservers web1@2026-11-23:etc"));
  verb.action([] { return show(options); });
}

}  // namespace vs::backup
