#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "backup/cli/command.h"
#include "backup/restore/check.h"

namespace vs::backup {
namespace {

struct CheckFlags : Options {
  std::string scratch;
  bool rehearse = false;
};

std::string scratch_path(const CheckFlags& options) {
  if (!options.scratch.empty()) return options.scratch;
  const char* tmp = std::getenv("TMPDIR");
  return fmt::format("{}/vbackup-rehearsal-{}", tmp != nullptr ? tmp : "/var/tmp", ::getpid());
}

void print_finding(Command& command, const Finding& finding) {
  command.print(fmt::format("{:<10} {}  {}", finding.kind, finding.object, finding.detail));
  command.line(
      {{"type", "finding"}, {"kind", finding.kind}, {"object", finding.object}, {"detail", finding.detail}});
}

Exit finish(Command& command, const CheckCounts& counts, size_t findings, bool rehearsed) {
  return command.finish(
      "check",
      {{"archives", counts.archives},
       {"files", counts.files},
       {"bytes", counts.bytes},
       {"references", counts.references},
       {"findings", findings},
       {"rehearsed", rehearsed}},
      fmt::format("{} archives, {} files ({}) read and compared with their digests, {} references{}: {}",
                  counts.archives, counts.files, size_text(counts.bytes), counts.references,
                  rehearsed ? ", restored and compared" : "",
                  findings == 0 ? "all is as it was stored" : fmt::format("{} findings", findings)));
}

Exit check(CheckFlags& options) {
  Command command(options);
  auto& context = command.context();
  StoredBackups backups(only_set(options));
  for (const auto& text : options.guests)
    if (const Selection selection = backups.parse(text); selection.guest != text)
      throw Error("check takes NAME, and reads all states of it", Exit::usage);
  std::vector<Finding> findings;
  CheckCounts counts;
  ArchiveSet* const set = backups.set();
  if (set == nullptr && !options.rehearse)
    throw Error("this is a single archive: --rehearse restores it into a scratch directory and compares",
                Exit::usage);
  if (set != nullptr) {
    const auto timed = context.timer.time("read");
    counts = check_set(*set, options.guests, findings, context);
  }
  if (options.rehearse && !context.cancel.stop()) {
    const auto timed = context.timer.time("rehearse");
    const auto guests = options.guests.empty() ? backups.guests() : options.guests;
    for (const auto& guest : guests)
      if (const auto stamp = backups.stamp(guest, kNewest)) command.say_state(guest, *stamp);
    rehearse(backups, guests, scratch_path(options), findings, context);
  }
  for (const auto& finding : findings) print_finding(command, finding);
  const Exit code = finish(command, counts, findings.size(), options.rehearse);
  return findings.empty() ? code : Exit::failed;
}

}  // namespace

void add_check(CommandLine& line) {
  static CheckFlags options;
  Verb verb = line.verb("check", "read everything back and compare it with the catalogs");
  add_set_option(verb, options);
  verb.flag("--rehearse", options.rehearse,
            "also restore the last state into a scratch directory and compare that");
  verb.option("--scratch", "DIR", options.scratch,
              "that directory; it must not exist and is removed again [below TMPDIR or /var/tmp]");
  add_frame_options(verb, options);
  verb.arguments("GUEST", options.guests, "vservers [all]", false);
  verb.footer(
      exit_codes("0 nothing found, 1 findings (each is one line), 2 usage, 3 some objects could not be "
                 "restored in the rehearsal, 130 interrupted",
                 "vbackup check --to archive:/backup/vservers --rehearse"));
  verb.action([] { return check(options); });
}

}  // namespace vs::backup
