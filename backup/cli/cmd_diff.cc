#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "backup/cli/command.h"
#include "backup/restore/stored_backups.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

struct DiffFlags : Options {};

std::map<std::string, Entry> all_entries(const GuestState& state, const std::map<uint64_t, Entry>& pool,
                                         const std::string& below, Log& log) {
  std::map<std::string, Entry> all;
  std::vector<Entry> entries;
  for (const auto& [path, bytes] : state.dirs) {
    if (!(below.empty() || path == below || path.starts_with(below + "/")) || !decode_dir(bytes, entries))
      continue;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0 && entries[i].type == 'd') continue;
      Entry entry = entries[i];
      const std::string full = join_path(path, entries[i].name);
      if (entry.pool != 0) {
        auto member = member_of(entry, pool);
        if (!member) {
          log.object_failed(fmt::format("{}@{}:{}: {}", escaped(state.guest), state.stamp, escaped(full),
                                        member.error().message));
          continue;
        }
        entry = std::move(*member);
      }
      all[full] = std::move(entry);
    }
  }
  return all;
}

std::string what_differs(const Entry& a, const Entry& b) {
  std::string text;
  const auto say = [&](bool differs, const char* what) {
    if (differs) text += std::string(text.empty() ? "" : ", ") + what;
  };
  say(a.type != b.type, "type");
  say(a.content != b.content || a.size != b.size, "bytes");
  say(a.target != b.target, "target");
  say(a.mode != b.mode, "mode");
  say(a.uid != b.uid || a.gid != b.gid, "owner");
  say(a.mtime_ns != b.mtime_ns, "mtime");
  say(a.xattrs != b.xattrs, "attributes");
  say(a.flags != b.flags || a.project != b.project, "flags");
  say(a.rdev != b.rdev, "device");
  return text;
}

Exit diff(DiffFlags& options) {
  Command command(options);
  StoredBackups backups(source_of(options));
  if (options.guests.size() != 2)
    throw Error("diff takes two: NAME@TIME NAME@TIME (also of two vservers)", Exit::usage);
  std::map<std::string, Entry> sides[2];
  for (size_t i = 0; i < 2; ++i) {
    const Selection selection = backups.parse(options.guests[i]);
    const auto state = backups.state(selection.guest, selection.limit());
    if (!state) throw Error(state.error().message, Exit::usage);
    command.say_state(selection.guest, state->stamp);
    sides[i] = all_entries(*state, backups.pool(), selection.path, command.context().log);
  }
  uint64_t added = 0, removed = 0, changed = 0;
  const auto say = [&](const char* mark, const std::string& path, const std::string& what) {
    command.print(fmt::format("{} {}{}", mark, escaped(path.empty() ? "/" : path),
                              what.empty() ? "" : "  (" + what + ")"));
    command.line({{"type", "difference"}, {"mark", mark}, {"path", escaped(path)}, {"what", what}});
  };
  for (const auto& [path, entry] : sides[0]) {
    const auto it = sides[1].find(path);
    if (it == sides[1].end()) {
      ++removed;
      say("-", path, "");
    } else if (const std::string what = what_differs(entry, it->second); !what.empty()) {
      ++changed;
      say("M", path, what);
    }
  }
  for (const auto& [path, entry] : sides[1])
    if (!sides[0].contains(path)) {
      ++added;
      say("+", path, "");
    }
  return command.finish("diff", {{"added", added}, {"removed", removed}, {"changed", changed}},
                        fmt::format("{} added, {} removed, {} changed", added, removed, changed));
}

}  // namespace

void add_diff(CommandLine& line) {
  static DiffFlags options;
  Verb verb = line.verb("diff", "what differs between two backups");
  add_set_option(verb, options);
  add_from_option(verb, options);
  add_frame_options(verb, options);
  verb.arguments("NAME[@TIME][:PATH]", options.guests, "the two to compare", true);
  verb.footer(exit_codes("0 done, 2 usage, 3 a shared file is lost from the pool (named)",
                         "vbackup diff --to archive:/backup/vservers web1@2026-11-20 web1"));
  verb.action([] { return diff(options); });
}

}  // namespace vs::backup
