#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "backup/archive/host_tree.h"
#include "backup/cli/command.h"
#include "backup/restore/check.h"
#include "core/escape.h"
#include "core/size_text.h"

namespace vs::backup {
namespace {

struct CheckFlags : Options {
  std::string scratch, subset;
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

// What was found; and what was not looked at is not called whole.
std::string verdict(const Command& command, const CheckCounts& counts, size_t findings) {
  if (findings != 0) return fmt::format("{} findings", findings);
  if (command.exit_code() != Exit::done) return "not all was looked at";
  return counts.archives_read < counts.archives ? "what was read is as it was stored"
                                                : "all is as it was stored";
}

Exit finish(Command& command, const CheckCounts& counts, size_t findings, bool rehearsed) {
  return command.finish(
      "check",
      {{"archives", counts.archives},
       {"archives_read", counts.archives_read},
       {"files", counts.files},
       {"bytes", counts.bytes},
       {"references", counts.references},
       {"findings", findings},
       {"rehearsed", rehearsed}},
      fmt::format(
          "{} archives, {}{} files ({}) read and compared with their digests, {} references{}: {}",
          counts.archives,
          counts.archives_read < counts.archives ? fmt::format("of {} of them ", counts.archives_read) : "",
          counts.files, size_text(counts.bytes), counts.references,
          rehearsed ? ", restored and compared" : "", verdict(command, counts, findings)));
}

void add(CheckCounts& sum, const CheckCounts& more) {
  sum.archives += more.archives;
  sum.archives_read += more.archives_read;
  sum.files += more.files;
  sum.bytes += more.bytes;
  sum.references += more.references;
}

void check_one(const std::string& path, const CheckFlags& options, Command& command, CheckCounts& counts,
               std::vector<Finding>& findings) {
  auto& context = command.context();
  const DataPart part = options.subset.empty() ? DataPart() : DataPart(options.subset);
  StoredBackups backups(path);
  for (const auto& text : options.guests)
    if (const Selection selection = backups.parse(text); selection.guest != text || is_host_tree(text))
      throw Error("check takes NAME, and reads all states of it", Exit::usage);
  ArchiveSet* const set = backups.set();
  if (set == nullptr && (!options.guests.empty() || !options.subset.empty()))
    throw Error("a single archive is checked as a whole", Exit::usage);
  {
    const auto timed = context.timer.time("read");
    add(counts, set != nullptr ? check_set(*set, options.guests, part, findings, context)
                               : check_single(backups, findings, context));
  }
  if (!options.rehearse || context.cancel.stop()) return;
  const auto timed = context.timer.time("rehearse");
  const auto guests = options.guests.empty() ? backups.guests() : options.guests;
  for (const auto& guest : guests)
    if (const auto stamp = backups.stamp(guest, kNewest)) command.say_state(guest, *stamp);
  rehearse(backups, guests, scratch_path(options), findings, context);
}

Exit check(CheckFlags& options) {
  Command command(options);
  std::vector<std::string> paths;  // all of them first: what makes no sense is no set that is not there
  if (options.to.size() < 2)
    paths.push_back(source_of(options));
  else
    for (const auto& to : options.to) paths.push_back(set_path(to));
  CheckCounts counts;
  std::vector<Finding> findings;
  for (const auto& path : paths) try {
      check_one(path, options, command, counts, findings);
    } catch (const Error& error) {
      // One of several that is not there takes nothing from the others.
      if (paths.size() == 1 || error.code() == Exit::interrupted) throw;
      findings.push_back({"set", escaped(path), error.what()});
    }
  for (const auto& finding : findings) print_finding(command, finding);
  const Exit code = finish(command, counts, findings.size(), options.rehearse);
  return findings.empty() ? code : Exit::failed;
}

}  // namespace

void add_check(CommandLine& line) {
  static CheckFlags options;
  Verb verb = line.verb("check", "read everything back and compare it with the catalogs");
  verb.list("--to", "archive:DIR", options.to, "the archive set; several are read one after the other");
  add_from_option(verb, options);
  verb.option("--read-data-subset", "PART", options.subset,
              "read only a part of the archives: 2/7 (each seventh, so that seven checks read all) or 10%, "
              "drawn anew each time; catalogs and references are compared all the same [all]");
  verb.flag("--rehearse", options.rehearse,
            "also restore the last state into a scratch directory and compare that");
  verb.option("--scratch", "DIR", options.scratch,
              "that directory; it must not exist and is removed again [below TMPDIR or /var/tmp]");
  add_frame_options(verb, options);
  verb.arguments("GUEST", options.guests, "vservers [all]", false);
  verb.footer(
      exit_codes("0 nothing found, 1 findings (each is one line), 2 usage, 3 some objects could not be "
                 "restored in the rehearsal, or not all was looked at, 130 interrupted",
                 "vbackup check --to archive:/backup/vservers --rehearse"));
  verb.action([] { return check(options); });
}

}  // namespace vs::backup
