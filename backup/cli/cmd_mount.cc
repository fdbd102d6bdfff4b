#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "backup/cli/command.h"
#include "backup/mount/mount.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

struct MountFlags : Options {
  std::string directory;
  bool foreground = false, allow_other = false;
};

Exit run_mount(MountFlags& options) {
  Command command(options);
  const std::string stored = source_of(options);
  mount({stored, options.directory, options.foreground, options.allow_other}, command.context(),
        [&](size_t guests, size_t states) {
          command.finish(
              "mount", {{"directory", escaped(options.directory)}, {"guests", guests}, {"states", states}},
              fmt::format("{} vservers, {} backups on {}", guests, states, escaped(options.directory)));
        });
  return command.exit_code();
}

}  // namespace

void add_mount(CommandLine& line) {
  static MountFlags options;
  Verb verb = line.verb("mount", "show all backups as a directory, read-only: DIR/NAME/TIME/...");
  add_set_option(verb, options);
  add_from_option(verb, options);
  verb.flag("--foreground", options.foreground, "stay; without it the command ends when all is mounted");
  verb.flag("--allow-other", options.allow_other,
            "others may look into it too, as far as owners and modes of what is stored allow");
  add_frame_options(verb, options);
  verb.argument("DIR", options.directory, "where; fusermount3 -u DIR, or umount DIR, ends it", true);
  verb.footer(
      exit_codes("0 mounted, or with --foreground ended, 1 failed, 2 usage, 3 (--foreground) some "
                 "objects could not be read (each is named)",
                 "vbackup mount --to archive:/backup/vservers /mnt"));
  verb.action([] { return run_mount(options); });
}

}  // namespace vs::backup
