#include <nlohmann/json.hpp>

#include "backup/archive/archive_set.h"
#include "backup/cli/command.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

struct InitFlags : Options {};

Exit init(InitFlags& options) {
  Command command(options);
  if (options.to.empty()) throw Error("which directories? Name them with --to archive:DIR", Exit::usage);
  uint64_t made = 0;
  for (const auto& to : options.to) {
    const std::string dir = set_path(to);
    const bool was_none = ArchiveSet::make(dir);
    ArchiveSet set(dir);
    const bool lost = !was_none && [&] {
      const HostLock lock = set.lock();
      return set.write_lost_identity();
    }();
    const char* what = was_none ? "is an archive set now"
                       : lost   ? "had lost its vbackup.set, which is written again"
                                : "is an archive set already";
    made += was_none ? 1 : 0;
    command.note(escaped(dir) + " " + what);
    command.line({{"type", "set"},
                  {"to", "archive:" + dir},
                  {"id", set.id()},
                  {"made", was_none},
                  {"was_lost", lost}});
  }
  return command.finish("init", {{"made", made}}, "");
}

}  // namespace

void add_init(CommandLine& line) {
  static InitFlags options;
  Verb verb = line.verb("init", "make a directory an archive set, or write its lost vbackup.set again");
  add_set_option(verb, options);
  add_frame_options(verb, options);
  verb.footer(exit_codes("0 done, or it is a set already, 1 failed, 2 usage, 11 another run holds the set",
                         "vbackup init --to archive:/backup/vservers"));
  verb.action([] { return init(options); });
}

}  // namespace vs::backup
